/*-------------------------------------------------------------------------
 *
 * reread.h
 *    Decoding the bytes of one reject again.
 *
 * Included only by src/load/replay.c, erase_reject.c and reread.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_LOAD_REREAD_H
#define ETL_LOAD_REREAD_H

#include "load/landing.h"

typedef struct EtlReread EtlReread;

/* prepares for rejects of a stream, in the current memory context */
extern EtlReread *etl_reread_begin(const EtlStream *stream, const EtlLoadOptions *options);
/* a decoder of one record, in the current memory context; 'of_row' as in etl.reject */
extern EtlDecoder *etl_reread_open(EtlReread *reread, int64 load_id, bool of_row, bytea *raw,
								   const char *origin);

#endif							/* ETL_LOAD_REREAD_H */
