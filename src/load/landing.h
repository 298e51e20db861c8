/*-------------------------------------------------------------------------
 *
 * landing.h
 *    What the files of load/ share: one load on its way into one relation.
 *
 * pull.c decides what makes a load and attempt.c tries it; item.c decodes its
 * records, land.c turns them into rows (drift.c maps and judges), writer.c,
 * merge.c and reject.c put them where they belong.  Nothing outside load/
 * includes this.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_LANDING_H
#define ETL_LANDING_H

#include "access/genam.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/relcache.h"
#include "utils/tuplestore.h"

#include "catalog/definition.h"
#include "catalog/history.h"
#include "common/compat.h"
#include "common/driver.h"
#include "common/options.h"
#include "decode/decode.h"
#include "etl_connector.h"
#include "load/coerce.h"
#include "load/transform.h"
#include "quality/quality.h"


#define ETL_LOAD_ID_COLUMN	 "_etl_load_id"
#define ETL_ROW_COLUMN		 "_etl_row"
#define ETL_LOADED_AT_COLUMN "_etl_loaded_at"	/* of streams in partitions */
#define ETL_BATCH_ROWS		 1000
#define ETL_BATCH_BYTES		 (1024 * 1024)

/* ---- options.c: a stream's options as a struct ---- */

typedef enum EtlPolicy
{
	ETL_EVOLVE,
	ETL_FREEZE,
	ETL_DISCARD_ROW,
	ETL_DISCARD_VALUE,
	ETL_QUARANTINE
} EtlPolicy;

typedef enum EtlOnChange
{
	ETL_ON_CHANGE_REPLACE,
	ETL_ON_CHANGE_APPEND,
	ETL_ON_CHANGE_ERROR
} EtlOnChange;

/* A column taken from the path of a file: the first group of 'pattern'. */
typedef struct EtlPathColumn
{
	char	   *name;
	char	   *pattern;
	bool		folder;			/* a folder name=value, written as Hive does */
} EtlPathColumn;

/* What becomes of an event that is later than the watermark allows. */
typedef enum EtlLate
{
	ETL_LATE_ACCEPT,
	ETL_LATE_QUARANTINE,
	ETL_LATE_DROP
} EtlLate;

typedef struct EtlLoadOptions
{
	EtlCoerceOptions coerce;
	EtlPolicy	tables;
	EtlPolicy	columns;
	EtlPolicy	data_type;
	EtlOnChange on_change;
	EtlThreshold max_rejects;
	const char *compression;
	int			max_expansion;	/* 0: no limit */
	bool		encrypted;		/* PGP messages, opened with these secrets */
	char	   *key_secret;		/* NULL: none */
	char	   *passphrase_secret;	/* NULL: none */
	List	   *path_columns;	/* EtlPathColumn * */
	EtlTransform *transform;	/* NULL: none */
	const Jsonb *nested;		/* NULL: objects stay jsonb */
	bool		child_tables;	/* and lists may be rows of child tables */
	const Jsonb *json_schema;	/* that records must keep; NULL: none */
	char	   *partition_by;	/* day, week, month; NULL: one table */
	bool		immutable;
	int64		keep_ms;		/* retention; -1: not by age */
	int64		keep_loads;		/* -1: not by count */
	char	   *archive;		/* schema of partitions that go; NULL: they are dropped */
	int64		watermark_ms;	/* how late events may be; -1: not promised */
	EtlLate		late;
	bool		adopt;
	bool		header;			/* csv: fields have names; else columns go by position */
	bool		keeps_header;	/* a record is read again with the names of its header */
	bool		header_matches; /* its names must be the columns of the table, in order */
	bool		is_json;
	bool		pushed;			/* JSON records by etl.ingest, whatever the stream's format */
	bool		transformed;	/* items of records that were transformed with them */
	bool		merge;
	bool		replace;
} EtlLoadOptions;

extern const EtlOptionDef etl_stream_options[];
extern const EtlOptionDef etl_stream_file_options[];
extern const EtlOptionDef etl_contract_options[];
extern const EtlOptionDef etl_decrypt_options[];
extern const EtlOptionDef etl_retention_options[];
extern const EtlOptionDef etl_transform_options[];

/* raises ET001 for a value that makes no sense */
extern EtlLoadOptions *etl_load_options_read(const EtlStream *stream);

/* ---- unlock.c: what an item holds, decrypted and unpacked ---- */

extern void etl_decrypt_read(EtlLoadOptions *options, const Jsonb *stream_options);	/* ET001 */
/* opens the secrets; the result lives in the current context */
extern EtlRead *etl_load_unpack(EtlRead *stored, const EtlLoadOptions *options, const char *origin);

/* ---- relation.c: the landing relation ---- */

typedef struct EtlColumn
{
	AttrNumber	attnum;
	char	   *name;
	char	   *original;		/* foreign name, from the column's comment; NULL: none */
	Oid			type;
	int32		typmod;
	bool		not_null;
	bool		declared;		/* in the stream's column list */
	bool		guards_time;	/* an inferred date: a value with a time of day does not fit */
	EtlCoercer *coercer;
	bool		soft;			/* its coercion never raises */
	bool		is_text;		/* and takes any text as it is */
	bool		mapped;			/* the item at work has a field for it */
	bool		ever_mapped;	/* some item of the load had */
	bool		widens;			/* the load's next try makes it wider */
	ExprState  *default_value;	/* for columns without a field; NULL: null */
} EtlColumn;

typedef struct EtlNewColumn
{
	char	   *field;			/* foreign name */
	char	   *name;
	Oid			type;
	char	   *type_name;		/* as SQL, where it is said; NULL: 'type' */
} EtlNewColumn;

/* the list of ColumnDef and Constraint nodes of a column definition list; raises ET001 */
extern List *etl_columns_parse(const char *columns);
extern bool etl_column_declared(List *declared, const char *name);	/* among them */
/* an identifier for a foreign name that no column of 'taken' (char *) has */
extern char *etl_column_identifier(const char *field, List *taken);

/* names of the columns of a relation, char * */
extern List *etl_relation_columns(Oid relid);
/*
 * the column among 'columns' (of relid when it exists) that answers to a
 * field and that no field before has claimed; NULL: none
 */
extern char *etl_relation_field_column(List *columns, Oid relid, const char *field, List *claimed);

/* all to be called inside etl_run_as of the owner */
extern Oid etl_relation_create(const EtlStream *stream, const EtlLoadOptions *options,
							   List *columns /* EtlNewColumn * */, int64 load_id);
extern Oid etl_relation_ensure(const EtlStream *stream, const EtlLoadOptions *options);
extern bool etl_relation_has_key(const EtlStream *stream, Oid relid);
extern void etl_relation_ensure_key(const EtlStream *stream, const EtlLoadOptions *options, Oid relid);
extern void etl_relation_add_columns(const EtlStream *stream, Oid relid, List *columns, int64 load_id);
extern void etl_relation_comment_column(const EtlStream *stream, const char *column, const char *field);
/* runs one utility or DML command as whoever is current; its row count */
extern uint64 etl_relation_sql(const char *sql);
extern bool etl_relation_at_work(void);	/* whether one runs */

/* zone.c: partitions by load time, immutability, retention */
extern void etl_zone_read(EtlLoadOptions *options, const EtlStream *stream);	/* ET001 */
extern char *etl_zone_clause(const EtlLoadOptions *options);	/* behind the columns of CREATE TABLE */
/* makes the partition for the loads of a moment, and sets or takes the protection */
extern void etl_zone_prepare(const EtlStream *stream, const EtlLoadOptions *options, Oid relid,
							 TimestampTz at);

/*
 * etl_stream_operated returns a stream that the caller may operate on: its
 * owner, or a member of etl_operator or of 'other_role' (NULL: none); raises
 * ET002 or 42501
 */
extern EtlStream *etl_stream_operated(const char *target, const char *other_role);

extern char *etl_format_of_path(const char *path);	/* by its ending; NULL: unknown */
/* gives a stream its format and raises ET001 for options that it cannot have */
extern void etl_stream_judge(EtlStream *stream, const EtlSource *source, const EtlConnector *connector);

/* ---- one load ---- */

typedef struct EtlLoadWriter EtlLoadWriter;
typedef struct EtlRejects EtlRejects;
typedef struct EtlReasons EtlReasons;
typedef struct EtlOriginals EtlOriginals;
typedef struct EtlChildren EtlChildren;
struct		EtlLandingState;

/* What must be done to the relation before the load is tried again. */
typedef struct EtlWidening
{
	char	   *column;
	Oid			type;
	char	   *refused;		/* why it could not be done; NULL: not tried, or done */
} EtlWidening;

/* A reject whose record landed, and what took it away again. */
typedef struct EtlLanded
{
	int64		reject_id;
	int64		load_id;
	int64		position;
	Jsonb	   *reasons;		/* NULL: it stays */
} EtlLanded;

/* A reject on its second way: what it keeps, and what became of it. */
typedef struct EtlReplay
{
	int64		load_id;		/* first read with */
	int64		position;
	const Jsonb *patch;			/* values to override, by field or column name */
	List	   *patched;		/* char *: keys of it that a record had, or could have had */
	Jsonb	   *reasons;		/* set when it was rejected again */
	bool		superseded;		/* set when a newer record of its key is there */

	/* of the whole replay */
	EtlLanded  *landed;
	int			nlanded;
	int			room;
} EtlReplay;

typedef struct EtlLanding
{
	const EtlStream *stream;
	const EtlLoadOptions *options;
	EtlLoad    *load;			/* accounting */
	MemoryContext context;		/* lives as long as the load */
	MemoryContext batch;		/* reset whenever the writer's batch was written */
	Relation	rel;
	EtlColumn  *columns;		/* without _etl_load_id and _etl_row */
	int			ncolumns;
	AttrNumber	load_id_attnum;
	AttrNumber	row_attnum;
	AttrNumber	loaded_at_attnum;	/* 0: there is none */
	EtlCheckSet *checks;
	bool		check_rows;
	List	   *check_results;	/* EtlCheckResult *; also set when a check blocks the load */
	List	   *fields;			/* char *: the header, for replays; NIL where records name their fields */
	struct EtlLandingState *state;	/* of land.c, held.c and item.c */
	EtlLoadWriter *writer;
	EtlRejects *rejects;
	EtlChildren *children;		/* lists of records for child tables; NULL: none yet */
	EtlOriginals *originals;	/* NULL: no check may quarantine a row that has landed */

	/* the item at work */
	const char *origin;
	int64		position_base;	/* records of the load's earlier items */
	EtlDecoder *decoder;
	int		   *map;			/* field number → column index, -1 unknown, -2 ignored */
	int			nmapped;
	char	  **path_values;	/* values of the path columns, by their order */
	int		   *path_map;

	int64		item_size;		/* of the item at work, in bytes as stored; -1: unknown */
	EtlDriver  *driver;			/* NULL: a replay */

	/* set before an error that asks for another try */
	bool		restart;
	bool		alone;			/* without a helper */
	bool		stage;			/* a merge in its first load, row by row */
	bool		infer;			/* unknown fields must be inferred first */
	List	   *widenings;		/* EtlWidening *, in the restart context */
	MemoryContext restart_context;
	int			tries;			/* of the load before this one */
	int64		looks_on;		/* records still to be looked at before a restart; 0: none is due */

	AttrNumber	event_attnum;	/* of event_time, when it is a date or timestamp; else 0 */
	Oid			event_type;
	Timestamp	last_event;		/* greatest so far, DT_NOBEGIN: none; without a zone: local */

	Timestamp	watermark;		/* events before it are late, as last_event; DT_NOBEGIN: none is */

	EtlReplay  *replay;			/* the reject being replayed; NULL: a load from the source */

	List	   *journaled;		/* char *: schema changes already written */
} EtlLanding;

/* land.c, item.c */
extern void etl_landing_begin(EtlLanding *landing, Oid relid);
extern void etl_landing_item(EtlLanding *landing, EtlRead *input, const char *records_path);

/*
 * raises ET007 unless the fields of a file are the columns of the table, all
 * of them and in order, but for those that its path gives
 */
extern void etl_landing_check_header(EtlLanding *landing);
/* ends the load at work and goes on with another one; only without checks, in append streams */
extern void etl_landing_next(EtlLanding *landing, EtlLoad *load);
extern void etl_landing_end(EtlLanding *landing);
/* one record decoded elsewhere, for replay */
extern void etl_landing_record(EtlLanding *landing, const EtlRecord *record, bool bad);
extern EtlDecoder *etl_landing_decoder(const EtlStream *stream, const EtlLoadOptions *options,
									   EtlRead *input, const char *records_path, const char *origin);
/* true when the bytes of rejects are JSON of what would have landed, whatever the format */
extern bool etl_records_are_rows(const EtlLoadOptions *options);
/* whether records do not land as the decoder of their format hands them out, */
extern bool etl_landing_reshapes(const EtlLoadOptions *options);
/* and the records of a decoder as the stream wants them: flattened, transformed */
extern EtlDecoder *etl_landing_reshape(const EtlLoadOptions *options, EtlDecoder *decoder);
/* flattened only */
extern EtlDecoder *etl_landing_nested(const EtlLoadOptions *options, EtlDecoder *decoder);
extern void etl_landing_keep_fields(EtlLanding *landing);
extern char *etl_path_value(const EtlPathColumn *column, const char *origin);

/*
 * team.c: lands the records of an item with the help of a second process;
 * false when there is none, and nothing has been read.  '*last' is the
 * position of the last record.
 */
extern bool etl_team_land(EtlLanding *landing, EtlRead *input, int64 *last);

/* event_time.c: the greatest event time that the load lands; a slot of which every value is set */
extern void etl_event_time_begin(EtlLanding *landing);
extern void etl_event_time_note(EtlLanding *landing, TupleTableSlot *slot);
extern void etl_event_time_note_tuple(EtlLanding *landing, HeapTuple tuple);
extern void etl_event_time_recount(EtlLanding *landing);	/* rows of the load were taken away */
extern TimestampTz etl_event_time_end(const EtlLanding *landing);	/* DT_NOBEGIN: none */

/* contract.c: what the producer promises */
extern void etl_contract_check(const EtlStream *stream);	/* ET001 */
/* what a redefinition means for those who read the records, in etl.schema_changes; ET001 when it must not be */
extern void etl_contract_compare(const EtlStream *old, const EtlStream *stream);
/* a decoder that refuses the records of 'inner' that break a JSON Schema */
extern EtlDecoder *etl_decoder_promise(EtlDecoder *inner, const Jsonb *schema);

/* watermark.c: the contract's promise of how late events may be */
extern void etl_watermark_read(EtlLoadOptions *options, const EtlStream *stream);	/* ET001 */
extern void etl_watermark_begin(EtlLanding *landing);	/* behind etl_event_time_begin */
/* counts a late row; true when the load goes on with it, else as told: dropped, or with a reason */
extern bool etl_watermark_pass(EtlLanding *landing, TupleTableSlot *slot, EtlReasons *reasons);
extern void etl_watermark_end(const EtlLanding *landing);

/* widen.c: the statement, what stands in its way (NULL: nothing that is known), and doing it */
extern char *etl_widen_sql(const EtlStream *stream, const EtlLoadOptions *options, const char *column,
						   Oid type);
extern char *etl_widen_hindrance(Oid relid, AttrNumber attnum);
extern void etl_widen(EtlLanding *landing, Oid relid, List *widenings);

/* drift.c */
extern int etl_drift_column(EtlLanding *landing, const char *field);	/* -1: none */
extern void etl_drift_map(EtlLanding *landing, int nfields);
/* what to do with a value of a field that has no column */
extern EtlPolicy etl_drift_unknown_field(EtlLanding *landing, const char *field);
/* what to do with a value that does not fit; may ask for a restart */
extern EtlPolicy etl_drift_misfit(EtlLanding *landing, EtlColumn *column, const EtlValue *value,
								  const char **remedy);
pg_noreturn extern void etl_drift_restart(EtlLanding *landing);
/* counts a record that was only looked at; restarts when it was the last of them */
extern void etl_drift_look_on(EtlLanding *landing);

/* reasons.c: those of one record, in the order found; in the caller's memory */
struct EtlReasons
{
	StringInfoData elements;	/* of the jsonb array, one after the other */
	List	   *ends;			/* of each, within that */
	int			n;
	const char *first_check;	/* of the first, for the summary */
	const char *first_column;
	const char *first_message;
};

extern void etl_reasons_add(EtlReasons *reasons, const char *check, const char *column,
							const char *value, const char *message);
extern void etl_reasons_add_all(EtlReasons *reasons, const Jsonb *array);
extern Jsonb *etl_reasons_end(EtlReasons *reasons);

/* fault.c: whether a row can be blamed for an error, and the reason that it makes */
extern bool etl_fault_of_row(const ErrorData *error);
extern void etl_fault_reason(EtlReasons *reasons, const ErrorData *error);

/* reject.c: the rejects of a load */
extern EtlRejects *etl_rejects_begin(EtlLanding *landing);
extern void etl_rejects_add(EtlRejects *rejects, int64 position, const char *raw, int raw_length,
							int64		raw_size, EtlReasons *reasons);
/* writes what is left */
extern void etl_rejects_end(EtlRejects *rejects);
extern void etl_rejects_verdict(EtlRejects *rejects, bool at_end);	/* raises ET009 */

/* refusal.c: what of a relation may refuse a row, or wants to know of it */
extern bool etl_relation_is_simple(Relation rel);
extern bool etl_index_may_refuse(Relation index, const IndexInfo *keys);
extern bool etl_relation_may_refuse(EtlLanding *landing, ResultRelInfo *result);
extern bool etl_relation_has_deferrable(Relation rel);
extern void etl_relation_hurry_constraints(Relation rel);

/* insert_sql.c: inserts staged rows, returns the positions of those that landed, and where it tells their places */
extern char *etl_insert_sql(EtlLanding *landing, const char *on_conflict);

/* writer.c: rows into the relation */
extern EtlLoadWriter *etl_load_writer_begin(EtlLanding *landing);
/* whether staged rows of a merge may be refused at the end, when their records are gone */
extern bool etl_load_writer_may_refuse(EtlLoadWriter *writer);
/* the slot to fill for the next row, cleared */
extern TupleTableSlot *etl_load_writer_slot(EtlLoadWriter *writer);
/* takes the row in that slot; it is written when its batch is full */
extern void etl_load_writer_put(EtlLoadWriter *writer, const EtlRecord *record);
/* whether rows may come as tuples, and one that does: it must stay where it is until the flush */
extern bool etl_load_writer_takes_tuples(EtlLoadWriter *writer);
extern void etl_load_writer_put_tuple(EtlLoadWriter *writer, HeapTupleHeader data, Size length);
extern void etl_load_writer_flush(EtlLoadWriter *writer);
extern void etl_load_writer_end(EtlLoadWriter *writer);

/* landed.c: the landed records of a replay; remembered, told to the checks, taken back, closed */
extern void etl_landed_add(EtlLanding *landing, int64 reject_id);
extern void etl_landed_tell(EtlReplay *replay, EtlCheckSet *checks);
extern bool etl_landed_take_back(EtlReplay *replay, const EtlReject *reject);
extern void etl_landed_close(const EtlReplay *replay, const char *target);

/* gone.c: records the rows of a load, which are about to be deleted */
extern void etl_gone_record(const EtlStream *stream, int64 load_id);

/* first.c: whether the relation is new, so that its indexes come after its rows; and building them */
extern bool etl_first_is(const EtlLanding *landing);
extern void etl_first_build_indexes(EtlLanding *landing);

/* merge.c: the staged rows of a load into the current state */
extern void etl_merge_apply(EtlLanding *landing, Tuplestorestate *staged);

#endif							/* ETL_LANDING_H */
