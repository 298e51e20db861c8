/*-------------------------------------------------------------------------
 *
 * look.h
 *    A look at a source without a stream: what preview, test_source and
 *    discover share.
 *
 * Included only by src/load/look.c and discover.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_LOAD_LOOK_H
#define ETL_LOAD_LOOK_H

#include "load/dialect.h"
#include "load/pull.h"

/*
 * Done as the caller, with the caller's rights and no more than a stream of
 * theirs would have.  Nothing is landed, no position moves.
 */
typedef struct EtlLook
{
	EtlStream	stream;			/* what would be defined */
	EtlSource  *source;
	EtlPull		pull;
	TimestampTz deadline;		/* of everything; ET005 when it is over */
	EtlItem    *item;			/* whose records are read */
	EtlDecoder *decoder;
	bool		finds_dialect;	/* of each item, whatever the options say */
	EtlDialect *dialect;		/* of the item; NULL: not looked for, or not found */
	Jsonb	   *stated;			/* the options without it */
	int64		items;			/* that were opened */
} EtlLook;

/* judges the options as define_stream does; 'format' NULL: as the path tells */
extern void etl_look_define(EtlLook *look, const char *source, const Jsonb *options, const char *format);
extern void etl_look_open(EtlLook *look);
/* the next item; false: no more.  Waits within the deadline. */
extern bool etl_look_item(EtlLook *look);
/* the next record of the items; ETL_RECORD_END when none is left */
extern EtlRecordState etl_look_record(EtlLook *look, EtlRecord *record);
/* a NOTICE when there was no item at all */
extern void etl_look_tell_nothing(const EtlLook *look);
/* also after an error */
extern void etl_look_close(EtlLook *look);
/* a record as an object, its faults in _etl_reject */
extern Jsonb *etl_look_json(EtlLook *look, const EtlRecord *record, bool bad);

#endif							/* ETL_LOAD_LOOK_H */
