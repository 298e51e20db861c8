/*-------------------------------------------------------------------------
 *
 * query_part.h
 *    What a query, a view or a function shows by itself.
 *
 * Called by traits.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_MODEL_QUERY_PART_H
#define ETL_MODEL_QUERY_PART_H

#include "datatype/timestamp.h"
#include "nodes/parsenodes.h"

/* What is known of a part before it is looked at. */
typedef struct EtlQueryPartKey
{
	Oid			object;			/* a view or a function */
	bool		is_view;
	Oid			user;			/* who calls the function, … */
	uint64		settings;		/* … how its text is read, … */
	uint64		types;			/* … and of what its arguments are, when it is polymorphic */
} EtlQueryPartKey;

typedef struct EtlQueryPart
{
	EtlQueryPartKey key;
	char	   *name;			/* of a view */
	char	   *told;			/* kind and name, and hash of its text, in JSON; NULL: what counts is below it */
	bool		managed;		/* a view of etl's, … */
	TimestampTz managed_at;		/* … as the transaction saw it that began then */
	bool		uses_clock;
	bool		uses_words;
	bool		time_of_param;	/* the value of a parameter becomes a time */
	bool		all_params;
	List	   *params;			/* char * */
	List	   *callees;		/* EtlCallee *: right below it */
	uint64		visit;			/* the last query that reached it */
} EtlQueryPart;

typedef struct EtlCallee
{
	Oid			object;
	bool		is_view;
	int			ntypes;			/* of the arguments of a polymorphic function */
	Oid		   *types;
} EtlCallee;

/* each fills in a part, which is zero before; what it holds is in 'memory' */
extern void etl_query_part_of(EtlQueryPart *part, MemoryContext memory, Query *query, const char *source);
extern void etl_query_part_of_callee(EtlQueryPart *part, MemoryContext memory, const EtlCallee *callee);
/* adds a view that is not seen in it */
extern void etl_query_part_add_view(EtlQueryPart *part, MemoryContext memory, Oid relid);

#endif							/* ETL_MODEL_QUERY_PART_H */
