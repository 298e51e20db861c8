/*-------------------------------------------------------------------------
 *
 * dialect.h
 *    Dialects of CSV that nobody stated: found once, kept, told.
 *
 * Included only by src/load/attempt.c, pull.c, replay.c, look.c and discover.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_LOAD_DIALECT_H
#define ETL_LOAD_DIALECT_H

#include "decode/dialect.h"
#include "load/pull.h"

/* true when the options of a stream leave its dialect to be found */
extern bool etl_dialect_is_auto(const EtlStream *stream);

/* what an item of CSV looks like; NULL when it has no record.  The item may be read again. */
extern EtlDialect *etl_dialect_of_item(EtlPull *pull, EtlItem *item);

/* 'options' with what was found; 'all': also what is the default anyway */
extern Jsonb *etl_dialect_options(const Jsonb *options, const EtlDialect *dialect, bool all);

/* in words, with the confidence; and what is not certain in it, NULL: nothing */
extern char *etl_dialect_describe(const EtlDialect *dialect);
extern char *etl_dialect_doubts(const EtlDialect *dialect);

/* a stream whose dialect was found before, with it; the stream itself otherwise */
extern const EtlStream *etl_dialect_known(const EtlStream *stream);

/*
 * etl_dialect_settle gives a pull the dialect of its stream, finding it in the
 * waiting item when nothing is known yet.  Raises ET001 when it is not certain.
 */
extern void etl_dialect_settle(EtlPull *pull);
/* keeps what was found, in the transaction of the first load read with it */
extern void etl_dialect_keep(EtlPull *pull);

#endif							/* ETL_LOAD_DIALECT_H */
