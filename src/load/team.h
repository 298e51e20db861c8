/*-------------------------------------------------------------------------
 *
 * team.h
 *    One load on two processes: what the leader of a load and its helper share.
 *
 *   leader                                        helper
 *   reads, unpacks, hashes   --- bytes in -->     decodes, coerces, forms tuples
 *   judges, inserts, rejects <-- messages out --
 *
 * The helper sees bytes in their order, so that line numbers and quotes are
 * what they are for one process, and touches no table: everything is written
 * by the leader, in its transaction.  What is not plainly a row (a malformed
 * record, a value that does not fit, a field without a column) comes back as
 * a record, and the leader does with it what it does without a helper.
 *
 * Both directions are rings of blocks in one dynamic shared memory segment.
 * The spinlock guards their counters and the states; a block belongs to one
 * side at a time.  Tuples are inserted from where the helper wrote them.
 *
 * Included by team.c and team_help.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_LOAD_TEAM_H
#define ETL_LOAD_TEAM_H

#include "catalog/pg_attribute.h"
#include "storage/condition_variable.h"
#include "storage/dsm.h"
#include "storage/spin.h"

#include "load/landing.h"

#define ETL_TEAM_MAX_FIELDS 8192
#define ETL_TEAM_BLOCKS		16	/* of each ring */
#define ETL_TEAM_TEXT		1024	/* bytes of an error's message, detail and hint */

typedef enum EtlTeamHelper
{
	ETL_HELPER_AWAITED,
	ETL_HELPER_REFUSED,			/* it came too late */
	ETL_HELPER_AT_WORK,
	ETL_HELPER_DONE,
	ETL_HELPER_FAILED,			/* its error is in 'error' */
	ETL_HELPER_UNABLE,			/* more fields than fit: the leader must do it alone */
	ETL_HELPER_GONE				/* its process has ended */
} EtlTeamHelper;

typedef struct EtlTeamRing
{
	uint64		written;		/* blocks, since the beginning */
	uint64		read;
	Size		offset;			/* of the first block in the segment */
	uint32		used[ETL_TEAM_BLOCKS];
} EtlTeamRing;

typedef struct EtlTeamError
{
	int			code;
	char		message[ETL_TEAM_TEXT];
	char		detail[ETL_TEAM_TEXT];
	char		hint[ETL_TEAM_TEXT];
} EtlTeamError;

/* A column as the helper must know it. */
typedef struct EtlTeamColumn
{
	AttrNumber	attnum;
	bool		not_null;
	bool		guards_time;
} EtlTeamColumn;

typedef struct EtlTeam
{
	slock_t		mutex;
	ConditionVariable moved;	/* a block was handed over or given back, or a state changed */
	EtlTeamHelper helper;
	bool		left;			/* the leader has gone: stop */
	bool		in_ended;		/* no more blocks come in */
	bool		mapped;			/* 'map' is valid */
	int			nfields;
	int			map[ETL_TEAM_MAX_FIELDS];	/* as EtlLanding.map */
	int64		last_position;	/* of the records, once the helper is done */
	EtlTeamError error;
	EtlTeamRing in;
	EtlTeamRing out;

	/* what the helper reads when it begins */
	Size		block_size;
	int64		load_id;
	int64		position_base;
	int			max_record_kb;
	bool		wants_raw;		/* rows may still be rejected: their bytes are needed */
	Size		sure_length;	/* longer ones may not fit: the leader judges the record */
	AttrNumber	load_id_attnum;
	AttrNumber	row_attnum;
	int			natts;
	int			ncolumns;
	Size		attributes;		/* offsets: FormData_pg_attribute[natts] */
	Size		columns;		/* EtlTeamColumn[ncolumns] */
	Size		owner;			/* texts */
	Size		origin;
	Size		stream_options; /* jsonb */
	Size		settings;		/* jsonb; 0: none */
} EtlTeam;

/* ---- messages: one after the other in a block, aligned ---- */

typedef enum EtlTeamKind
{
	ETL_TEAM_FIELDS,			/* names, one after the other, each with its NUL */
	ETL_TEAM_ROW,				/* a tuple, then the record's bytes when they are wanted */
	ETL_TEAM_RECORD,			/* EtlTeamRecord */
	ETL_TEAM_PART,				/* a part of a message that is larger than a block */
	ETL_TEAM_LAST_PART
} EtlTeamKind;

typedef struct EtlTeamMessage
{
	uint32		size;			/* with this head; a multiple of MAXIMUM_ALIGNOF */
	uint32		kind;
	uint32		length;			/* of the tuple; of a part */
	uint32		raw_length;
	int64		position;
	int64		raw_size;
} EtlTeamMessage;

#define ETL_TEAM_BODY(message) ((char *) (message) + MAXALIGN(sizeof(EtlTeamMessage)))

/*
 * The body of a record: this, its values, then the bytes of raw, texts and
 * values, each text with its NUL.
 */
typedef struct EtlTeamRecord
{
	bool		bad;
	bool		has_sha256;
	bool		has_problem_field;
	int			nvalues;
} EtlTeamRecord;

typedef struct EtlTeamValue
{
	EtlValueKind kind;
	int			length;
} EtlTeamValue;

/* ---- team.c: what both sides do with a ring ---- */

/* the block to fill, NULL: all are full */
extern char *etl_team_room(EtlTeam *team, EtlTeamRing *ring);
extern void etl_team_publish(EtlTeam *team, EtlTeamRing *ring, Size used);
/* the next full block, NULL: there is none */
extern char *etl_team_next(EtlTeam *team, EtlTeamRing *ring, Size *used);
extern void etl_team_release(EtlTeam *team, EtlTeamRing *ring);
/* sleeps until something moved, a second at most */
extern void etl_team_sleep(EtlTeam *team);

#endif							/* ETL_LOAD_TEAM_H */
