/*-------------------------------------------------------------------------
 *
 * child.h
 *    Streams that land with another one: the lists inside its records.
 *
 * Called by connector/, load/ and run/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CATALOG_CHILD_H
#define ETL_CATALOG_CHILD_H

#include "catalog/definition.h"

/* options of such a stream: what it lands with, and the path of its lists there */
#define ETL_CHILD_OF   "child_of"
#define ETL_CHILD_PATH "child_path"

/* the stream that a stream lands with; NULL: it is fed by itself */
extern char *etl_stream_parent(const EtlStream *stream);
/* raises ET001 for what can only be done with the parent of a stream */
extern void etl_stream_refuse_child(const EtlStream *stream, const char *what);
/* those that land with a stream, EtlStream *, by target */
extern List *etl_stream_children(const char *target);

/* A load that landed with another one. */
typedef struct EtlChildLoad
{
	int64		load_id;
	char	   *target;
} EtlChildLoad;

/* what landed with a load, of any depth, EtlChildLoad * */
extern List *etl_loads_within(int64 load_id);

#endif							/* ETL_CATALOG_CHILD_H */
