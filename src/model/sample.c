/*-------------------------------------------------------------------------
 *
 * sample.c
 *    Builds while developing: of a sample of the inputs, or of no rows.
 *
 * The parameters "sample" and "empty" of a run ask for it, in an environment
 * only.  The query is restricted after PostgreSQL has put its views and row
 * policies in place, so that rights are what they always are: each table it
 * reads gets a TABLESAMPLE.  What was built so is remembered as such, and so
 * is what reads it: it is built again when the same is not asked for, and no
 * promotion takes its rows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_func.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "catalog/environment.h"
#include "common/errors.h"
#include "common/guc.h"
#include "common/json.h"
#include "common/names.h"
#include "common/options.h"
#include "model/internal.h"

/* from so many sampled blocks on, whole blocks are taken: the others need not be read */
#define BLOCKS_ENOUGH 1000

/* What sampled() hands down. */
typedef struct Sample
{
	const char *what;			/* "empty", "1%", or shares by relation as JSON */
	Jsonb	   *shares;			/* NULL unless what is that */
} Sample;

/*
 * share_of reads a share, as a number from 0 to 1; raises ET001.
 */
static double
share_of(const char *text)
{
	EtlThreshold share = {0};

	if (text != NULL)
		share = etl_option_threshold("sample", text);
	if (!share.is_share || share.value == 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("parameter \"sample\" must be a share such as \"1%%\", but is \"%s\"",
						text ? text : "null"),
				 errhint("Write params => '{\"sample\": \"1%%\"}', '{\"sample\": {\"raw.orders\": "
						 "\"1%%\"}}' for "
						 "the relations named only, or '{\"empty\": true}'.")));
	return share.value;
}

/*
 * what_params_ask returns what the parameters of a run ask for; NULL: for
 * all rows.
 */
static char *
what_params_ask(const Jsonb *params)
{
	char	   *sample = etl_json_get_text(params, "sample");
	Jsonb	   *shares = sample ? etl_json_get(params, "sample") : NULL;
	EtlJsonBuilder *builder;
	ListCell   *cell;

	if (etl_json_has(params, "empty") && etl_json_kind_of(params, "empty") != 'b')
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION), errmsg("parameter \"empty\" must be true or false")));
	if (etl_json_get_bool(params, "empty", false))
		return "empty";
	if (sample == NULL)
		return NULL;
	if (etl_json_kind(shares) != 'o')
	{
		(void) share_of(sample);
		return sample;
	}
	builder = etl_json_object_begin();
	foreach(cell, etl_json_keys(shares))
	{
		char	   *share = etl_json_get_text(shares, lfirst(cell));

		(void) share_of(share);
		etl_json_add_text(builder, etl_environment_resolve(etl_name_canonical(lfirst(cell))), share);
	}
	return etl_json_text(etl_json_object_end(builder));
}

char *
etl_sample_asked(void)
{
	Jsonb	   *params;

	if (!etl_environment_on() || etl_params == NULL || *etl_params == '\0')
		return NULL;
	params = etl_json_parse(etl_params);
	return etl_json_kind(params) == 'o' ? what_params_ask(params) : NULL;
}

void
etl_sample_check(const Jsonb *params)
{
	char	   *what = what_params_ask(params);

	if (what == NULL || etl_environment_on())
		return;
	ereport(ERROR,
			(errcode(ETL_ERR_DEFINITION),
			 errmsg("parameters \"sample\" and \"empty\" are for environments"),
			 errdetail("In production they would publish a part of the rows as if it were all."),
			 errhint("SET etl.environment = 'dev', define there what you change, and run it.")));
}

char *
etl_sample_text(const char *what)
{
	if (strcmp(what, "empty") == 0)
		return "with empty inputs";
	return psprintf("of a sample of its inputs (%s)", what);
}

char *
etl_sample_inherited(List *inputs)
{
	ListCell   *cell;

	if (!etl_environment_on())
		return NULL;
	foreach(cell, inputs)
	{
		EtlInput   *input = lfirst(cell);
		EtlNodeState *state = input->kind == 'm' ? etl_node_state_get(input->name) : NULL;

		if (state != NULL && state->sample != NULL)
			return state->sample;
	}
	return NULL;
}

/*
 * share_for returns the share of a relation that is to be read; 1: all of it.
 */
static double
share_for(const Sample *sample, Oid relid)
{
	char	   *name = etl_name_of_relation(relid);
	char	   *share;

	/* what is built of a sample is one */
	if (name == NULL || etl_node_state_get(name)->sample != NULL)
		return 1;
	if (strcmp(sample->what, "empty") == 0)
		return 0;
	if (sample->shares == NULL)
		return share_of(sample->what);
	share = etl_json_get_text(sample->shares, name);
	return share == NULL ? 1 : share_of(share);
}

/*
 * method returns the handler of a sampling method for a share of a table.
 */
static Oid
method(RangeTblEntry *rte, double share)
{
	Oid			argument = INTERNALOID;
	bool		blocks = share == 0;

	if (!blocks && rte->relkind != RELKIND_PARTITIONED_TABLE)
	{
		Relation	rel = table_open(rte->relid, AccessShareLock);

		blocks = share * RelationGetNumberOfBlocks(rel) >= BLOCKS_ENOUGH;
		table_close(rel, NoLock);
	}
	return LookupFuncName(list_make2(makeString("pg_catalog"), makeString(blocks ? "system" : "bernoulli")),
						  1, &argument, false);
}

/*
 * sample_table makes an entry read a share of its table, always the same.
 */
static void
sample_table(RangeTblEntry *rte, double share)
{
	TableSampleClause *clause = makeNode(TableSampleClause);

	clause->tsmhandler = method(rte, share);
	clause->args = list_make1(makeConst(FLOAT4OID, -1, InvalidOid, sizeof(float4),
										Float4GetDatum(share * 100), false, true));
	clause->repeatable = (Expr *) makeConst(FLOAT8OID, -1, InvalidOid, sizeof(float8), Float8GetDatum(0),
											false, FLOAT8PASSBYVAL);
	rte->tablesample = clause;
}

/*
 * sample_foreign makes an entry keep a share of a foreign table's rows.
 */
static void
sample_foreign(RangeTblEntry *rte, double share)
{
	char	   *sql = psprintf("SELECT pg_catalog.random() OPERATOR(pg_catalog.<) %.17g::pg_catalog.float8", share);
	Query	   *query = etl_query_analyze(share == 0 ? "SELECT false" : sql, NULL);
	Node	   *condition = (Node *) linitial_node(TargetEntry, query->targetList)->expr;

	rte->securityQuals = lappend(rte->securityQuals, condition);
}

/*
 * sampled restricts what is read below one node of a rewritten query.
 */
static bool
sampled(Node *node, Sample *sample)
{
	ListCell   *cell;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, sampled, sample);
	foreach(cell, ((Query *) node)->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);
		double		share;

		if (rte->rtekind != RTE_RELATION || rte->relkind == RELKIND_VIEW)
			continue;
		share = share_for(sample, rte->relid);
		if (share == 1)
			continue;
		if (rte->relkind == RELKIND_FOREIGN_TABLE)
			sample_foreign(rte, share);
		else if (rte->tablesample == NULL || share == 0)
			sample_table(rte, share);
	}
	return query_tree_walker((Query *) node, sampled, sample, 0);
}

void
etl_sample_apply(Query *query, const char *what)
{
	Sample		sample = {.what = what};

	if (*what == '{')
		sample.shares = etl_json_parse(what);
	(void) sampled((Node *) query, &sample);
}
