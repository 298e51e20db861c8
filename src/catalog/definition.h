/*-------------------------------------------------------------------------
 *
 * definition.h
 *    What is defined: sources, streams, models, checks, secrets, as structs.
 *
 * Called by everything above catalog/.  Everything is palloc'd in the
 * caller's context.  find functions return NULL when there is none;
 * get functions raise ET002 with the nearest existing name.
 * store functions return "created", "updated" or "unchanged", after
 * etl_check_owner on an existing definition; version rises on 'updated'.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_DEFINITION_H
#define ETL_DEFINITION_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

typedef struct EtlSource
{
	char	   *name;
	char	   *connector;
	Jsonb	   *options;
	char	   *description;
	char	   *owner;			/* role name */
	int			version;
} EtlSource;

typedef struct EtlStream
{
	char	   *target;			/* canonical */
	char	   *source;
	Jsonb	   *options;
	char	   *format;
	char	   *columns;
	List	   *key;			/* char *, column names unquoted */
	char	   *mode;			/* append | merge | replace */
	char	   *event_time;
	char	   *schema_policy;	/* a word or JSON text */
	Jsonb	   *contract;
	List	   *tags;
	char	   *description;
	Jsonb	   *settings;
	char	   *owner;
	int			version;
} EtlStream;

typedef struct EtlModel
{
	char	   *target;
	char	   *query;
	char	   *materialized;	/* view | table | incremental | … */
	List	   *key;
	char	   *strategy;
	char	   *event_time;
	Interval   *batch_size;
	Interval   *lookback;
	Jsonb	   *options;
	List	   *tags;
	char	   *description;
	Jsonb	   *settings;
	bool		resolved;
	char	   *owner;
	int			version;
	char	   *instead;		/* "b is read instead of a": its query is not its own; NULL: it is */
	int			keep;			/* of a rollback: publications to be kept, whatever its own option says */
	const struct EtlIntervalRequest *request;	/* which intervals a run asks for; NULL: those that are due */
} EtlModel;

typedef struct EtlCheck
{
	char	   *target;
	char	   *name;
	char	   *kind;
	List	   *columns;
	Jsonb	   *options;
	char	   *on_fail;		/* warn | quarantine | fail */
	char	   *dimension;
	char	   *description;
	Jsonb	   *settings;
	char	   *owner;
	int			version;
} EtlCheck;

extern const char *etl_source_store(const EtlSource *source);
extern EtlSource *etl_source_find(const char *name);
extern EtlSource *etl_source_get(const char *name);

extern const char *etl_stream_store(const EtlStream *stream);
extern EtlStream *etl_stream_find(const char *target);
extern EtlStream *etl_stream_get(const char *target);
extern List *etl_stream_all(void);	/* EtlStream *, by target */

extern const char *etl_model_store(const EtlModel *model);
extern EtlModel *etl_model_find(const char *target);
extern EtlModel *etl_model_get(const char *target);
extern List *etl_model_all(void);	/* EtlModel *, by target */
extern void etl_model_set_resolved(const char *target, bool resolved);

extern const char *etl_check_store(const EtlCheck *check);
extern EtlCheck *etl_check_find(const char *target, const char *name);
extern List *etl_checks_of(const char *target);	/* EtlCheck *, by name */

/* The relation "target" is a stream or model; raises ET002 naming the nearest node. */
extern void etl_node_must_exist(const char *target);
/* Owner of a node's definition, NULL when there is no such node. */
extern char *etl_node_owner(const char *target);

/*
 * drop of any kind: "source", "stream", "model", "quality_check" and "unit_test" (target and name);
 * true when it was there
 */
extern bool etl_definition_delete(const char *kind, const char *target, const char *name);

/* Dependencies and lineage of a node, replaced whole. */
typedef struct EtlColumnEdge
{
	char	   *column_name;
	char	   *source;
	char	   *source_column;
	const char *transformation;
} EtlColumnEdge;

extern void etl_dependencies_store(const char *node, List *names);	/* char * canonical */
extern List *etl_dependencies_of(const char *node);
extern void etl_lineage_store(const char *node, List *edges);	/* EtlColumnEdge * */

#endif							/* ETL_DEFINITION_H */
