/*-------------------------------------------------------------------------
 *
 * relationship.c
 *    Is each value of a row found in another relation?
 *
 * The keys of the other relation are read once, into a hash table, when the
 * first row asks; rows then cost one lookup.  Where an index leads with the
 * columns, the first rows probe it instead, so that a small change does not
 * read a large parent; and a parent whose keys do not fit into memory is
 * probed for ever.  All of it runs with the rights of the set's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteManip.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "common/errors.h"
#include "common/json.h"
#include "quality/check.h"

#define PROBES_BEFORE_HASH 1000

/* One key of the parent; 'values' has as many datums as the check has columns. */
typedef struct ParentKey
{
	uint32		hash;
	Datum	   *values;
	char		status;
} ParentKey;

typedef struct Relationship Relationship;

#define SH_PREFIX		parent
#define SH_ELEMENT_TYPE ParentKey
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_KEY_TYPE Datum *
#include "lib/simplehash.h"

struct Relationship
{
	int			n;
	Oid		   *param_types;	/* of the probing side, as the operator takes them */
	ExprState **probe;			/* child's column, coerced */
	ExprState **build;			/* parent's column, coerced; reads a slot of the parent's columns */
	FmgrInfo   *probe_hash;
	FmgrInfo   *build_hash;
	FmgrInfo   *equal;			/* (probe, build) */
	FmgrInfo   *build_equal;	/* (build, build) */
	Oid		   *collations;
	int16	   *typlen;
	bool	   *typbyval;
	char	   *probe_sql;
	char	   *keys_sql;
	bool		hashable;
	bool		indexed;
	int64		probes;
	SPIPlanPtr	plan;
	MemoryContext keys_context;
	parent_hash *keys;
	ExprContext *build_context;
	Datum	   *probe_values;
	bool		probing;		/* lookups in 'keys' compare with the probing side's functions */
	MemoryContextCallback release;
};

static bool parent_keys_equal(Relationship *relationship, Datum *stored, Datum *sought);

#define SH_PREFIX			 parent
#define SH_ELEMENT_TYPE		 ParentKey
#define SH_KEY_TYPE			 Datum *
#define SH_KEY				 values
#define SH_HASH_KEY(tb, key) ((void) (key), 0)
#define SH_EQUAL(tb, a, b)	 parent_keys_equal((Relationship *) (tb)->private_data, (a), (b))
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) ((a)->hash)
#define SH_SCOPE		   static inline
#define SH_DEFINE
#include "lib/simplehash.h"

/*
 * parent_keys_equal compares a stored key with one that is sought or added.
 */
static bool
parent_keys_equal(Relationship *relationship, Datum *stored, Datum *sought)
{
	FmgrInfo   *equal = relationship->probing ? relationship->equal : relationship->build_equal;

	for (int i = 0; i < relationship->n; i++)
		if (!DatumGetBool(FunctionCall2Coll(&equal[i], relationship->collations[i],
											sought[i], stored[i])))
			return false;
	return true;
}

/*
 * key_hash combines the hashes of a key's columns.
 */
static uint32
key_hash(Relationship *relationship, FmgrInfo *functions, Datum *values)
{
	uint32		hash = 0;

	for (int i = 0; i < relationship->n; i++)
		hash = hash_combine(hash, DatumGetUInt32(FunctionCall1Coll(&functions[i],
																   relationship->collations[i],
																   values[i])));
	return hash;
}

/*
 * key_budget is the memory that the keys of one parent may take.
 */
static Size
key_budget(void)
{
	return (Size) Max(maintenance_work_mem, work_mem) * 1024;
}

/* ---- compiling ---- */

/*
 * has_index tells whether a plain valid index of the parent leads with the columns.
 */
static bool
has_index(Relation parent, AttrNumber *attnos, int n)
{
	List	   *indexes = RelationGetIndexList(parent);
	ListCell   *cell;
	bool		found = false;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;
		int			matched = 0;

		if (form->indisvalid && RelationGetIndexPredicate(index) == NIL && form->indnkeyatts >= n)
			for (int i = 0; i < n; i++)
				for (int j = 0; j < n; j++)
					if (form->indkey.values[i] == attnos[j])
						matched++;
		index_close(index, AccessShareLock);
		found = found || matched == n;
	}
	return found;
}

/*
 * compile_column prepares one column: what the operator needs on both sides.
 */
static void
compile_column(EtlCheckState *state, Relationship *relationship, int i, Form_pg_attribute attr)
{
	EtlCheckSet *set = state->set;
	OpExpr	   *equal = castNode(OpExpr, etl_rowexpr_equal(set->desc, state->attnos[i], attr, i + 1));
	Node	   *left = linitial(equal->args);
	Node	   *right = lsecond(equal->args);
	Oid			right_type = exprType(right);
	RegProcedure probe_hash;
	RegProcedure build_hash;
	Oid			same_type_equal;

	/* the planner is not asked: the two sides become expressions of their own row */
	relationship->param_types[i] = exprType(left);
	relationship->probe[i] = ExecPrepareExpr((Expr *) left, set->estate);
	right = copyObject(right);
	ChangeVarNodes(right, 2, 1, 0);
	relationship->build[i] = ExecPrepareExpr((Expr *) right, set->estate);

	fmgr_info_cxt(equal->opfuncid ? equal->opfuncid : get_opcode(equal->opno),
				  &relationship->equal[i], set->context);
	relationship->collations[i] = equal->inputcollid;
	get_typlenbyval(right_type, &relationship->typlen[i], &relationship->typbyval[i]);

	if (relationship->hashable && op_hashjoinable(equal->opno, relationship->param_types[i]) &&
		get_op_hash_functions(equal->opno, &probe_hash, &build_hash))
	{
		fmgr_info_cxt(probe_hash, &relationship->probe_hash[i], set->context);
		fmgr_info_cxt(build_hash, &relationship->build_hash[i], set->context);
		same_type_equal = get_opcode(lookup_type_cache(right_type, TYPECACHE_EQ_OPR)->eq_opr);
		fmgr_info_cxt(same_type_equal, &relationship->build_equal[i], set->context);
	}
	else
		relationship->hashable = false;
}

/*
 * operator_name writes an operator so that no search_path changes it.
 */
static char *
operator_name(EtlCheckState *state, int i, Form_pg_attribute attr)
{
	OpExpr	   *equal = castNode(OpExpr, etl_rowexpr_equal(state->set->desc, state->attnos[i],
													   attr, i + 1));
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(equal->opno));
	Form_pg_operator form = (Form_pg_operator) GETSTRUCT(tuple);
	char	   *name = psprintf("OPERATOR(%s.%s)",
						  quote_identifier(get_namespace_name(form->oprnamespace)),
						  NameStr(form->oprname));

	ReleaseSysCache(tuple);
	return name;
}

/*
 * release_plan frees the kept plan with the check set.
 */
static void
release_plan(void *arg)
{
	Relationship *relationship = arg;

	if (relationship->plan != NULL)
		SPI_freeplan(relationship->plan);
	relationship->plan = NULL;
}

/*
 * allocate makes an empty relationship of n columns.
 */
static Relationship *
allocate(EtlCheckState *state)
{
	Relationship *relationship = palloc0(sizeof(Relationship));
	int			n = state->ncolumns;

	relationship->n = n;
	relationship->param_types = palloc0(sizeof(Oid) * n);
	relationship->probe = palloc0(sizeof(ExprState *) * n);
	relationship->build = palloc0(sizeof(ExprState *) * n);
	relationship->probe_hash = palloc0(sizeof(FmgrInfo) * n);
	relationship->build_hash = palloc0(sizeof(FmgrInfo) * n);
	relationship->equal = palloc0(sizeof(FmgrInfo) * n);
	relationship->build_equal = palloc0(sizeof(FmgrInfo) * n);
	relationship->collations = palloc0(sizeof(Oid) * n);
	relationship->typlen = palloc0(sizeof(int16) * n);
	relationship->typbyval = palloc0(sizeof(bool) * n);
	relationship->probe_values = palloc0(sizeof(Datum) * n);
	relationship->build_context = CreateExprContext(state->set->estate);
	relationship->hashable = true;
	relationship->release.func = release_plan;
	relationship->release.arg = relationship;
	MemoryContextRegisterResetCallback(state->set->context, &relationship->release);
	return relationship;
}

/*
 * open_parent opens the other relation; raises 42P01 when it is not there
 * and 42501 when the owner may not read it.
 */
static Relation
open_parent(const char *to)
{
	Oid			relid = etl_name_relation(to);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s\" does not exist", to)));
	return relation_open(relid, AccessShareLock);
}

/*
 * judge_parallel notes whether parallel workers may read the parent: a plain
 * table, whose rows are the same for every process.
 */
static void
judge_parallel(EtlCheckState *state, Relation parent)
{
	char		relkind = parent->rd_rel->relkind;
	Oid			relid = RelationGetRelid(parent);

	state->serial = state->serial || (relkind != RELKIND_RELATION && relkind != RELKIND_MATVIEW) ||
					parent->rd_rel->relpersistence == RELPERSISTENCE_TEMP || has_subclass(relid) ||
					check_enable_rls(relid, state->set->role, true) == RLS_ENABLED;
	if (!state->serial)
		state->reads = RelationGetNumberOfBlocks(parent);
}

/*
 * etl_relationship_compile prepares the comparison with the parent; reads
 * none of its rows yet.
 */
void
etl_relationship_compile(EtlCheckState *state)
{
	const Jsonb *options = state->def->options;
	char	   *to = etl_json_get_text(options, "to");
	List	   *columns = etl_json_get_list(options, "columns");
	Relationship *relationship;
	Relation	parent;
	StringInfoData probe;
	StringInfoData keys;
	AttrNumber *attnos = palloc0(sizeof(AttrNumber) * state->ncolumns);
	char	   *name;

	if (columns == NIL)
		columns = state->def->columns;
	if (strcmp(etl_name_canonical(to), state->set->target) == 0)
	{
		state->by_sql = true;
		return;
	}
	relationship = allocate(state);
	parent = open_parent(to);
	name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(parent)),
									  RelationGetRelationName(parent));
	initStringInfo(&probe);
	initStringInfo(&keys);
	appendStringInfo(&probe, "SELECT 1 FROM %s WHERE ", name);
	appendStringInfoString(&keys, "SELECT ");

	for (int i = 0; i < state->ncolumns; i++)
	{
		const char *column = list_nth(columns, i);
		AttrNumber	attno = get_attnum(RelationGetRelid(parent), column);
		Form_pg_attribute attr;

		if (attno <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of %s does not exist", column, to)));
		if (pg_attribute_aclcheck(RelationGetRelid(parent), attno, state->set->role,
								  ACL_SELECT) != ACLCHECK_OK &&
			pg_class_aclcheck(RelationGetRelid(parent), state->set->role, ACL_SELECT) != ACLCHECK_OK)
			aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, to);
		attnos[i] = attno;
		attr = TupleDescAttr(RelationGetDescr(parent), attno - 1);
		compile_column(state, relationship, i, attr);
		appendStringInfo(&probe, "%s%s %s $%d", i > 0 ? " AND " : "", quote_identifier(column),
						 operator_name(state, i, attr), i + 1);
		appendStringInfo(&keys, "%s%s", i > 0 ? ", " : "", quote_identifier(column));
	}
	appendStringInfoString(&probe, " LIMIT 1");
	appendStringInfo(&keys, " FROM %s", name);
	relationship->probe_sql = probe.data;
	relationship->keys_sql = keys.data;
	relationship->indexed = parent->rd_rel->relkind == RELKIND_RELATION &&
							has_index(parent, attnos, state->ncolumns);
	judge_parallel(state, parent);
	relation_close(parent, AccessShareLock);
	state->material = relationship;
	state->may_raise = true;
	state->only_builtin = false;
	for (int i = 0; i < state->ncolumns; i++)
		state->serial = state->serial || func_parallel(relationship->equal[i].fn_oid) != PROPARALLEL_SAFE;
}

/* ---- reading the parent ---- */

/*
 * begin_read opens SPI for reading under the active snapshot.  Nothing here
 * needs a command id or a subtransaction: rows may come from a parallel
 * query, which forbids both.
 */
static void
begin_read(void)
{
	PushActiveSnapshot(ActiveSnapshotSet() ? GetActiveSnapshot() : GetTransactionSnapshot());
	SPI_connect();
}

/*
 * end_read undoes begin_read.
 */
static void
end_read(void)
{
	SPI_finish();
	PopActiveSnapshot();
}

typedef struct KeyReceiver
{
	DestReceiver pub;
	Relationship *relationship;
	bool		full;
} KeyReceiver;

static void
keys_startup(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
keys_nothing(DestReceiver *self)
{
}

/*
 * keys_receive adds the key of one row of the parent; false when memory is full.
 */
static bool
keys_receive(TupleTableSlot *slot, DestReceiver *self)
{
	KeyReceiver *receiver = (KeyReceiver *) self;
	Relationship *relationship = receiver->relationship;
	ExprContext *econtext = relationship->build_context;
	MemoryContext old;
	ParentKey  *entry;
	bool		found;

	slot_getallattrs(slot);
	ResetExprContext(econtext);
	econtext->ecxt_scantuple = slot;
	old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	for (int i = 0; i < relationship->n; i++)
	{
		bool		isnull;

		relationship->probe_values[i] = ExecEvalExpr(relationship->build[i], econtext, &isnull);
		if (isnull)
		{
			MemoryContextSwitchTo(old);
			return true;
		}
	}
	entry = parent_insert_hash(relationship->keys, relationship->probe_values,
							   key_hash(relationship, relationship->build_hash,
										relationship->probe_values),
							   &found);
	if (!found)
	{
		MemoryContextSwitchTo(relationship->keys_context);
		entry->hash = key_hash(relationship, relationship->build_hash, relationship->probe_values);
		entry->values = palloc(sizeof(Datum) * relationship->n);
		for (int i = 0; i < relationship->n; i++)
			entry->values[i] = relationship->typlen[i] == -1 ?
								   PointerGetDatum(PG_DETOAST_DATUM_COPY(relationship->probe_values[i])) :
								   datumCopy(relationship->probe_values[i], relationship->typbyval[i],
											 relationship->typlen[i]);
	}
	MemoryContextSwitchTo(old);
	receiver->full = MemoryContextMemAllocated(relationship->keys_context, true) > key_budget();
	return !receiver->full;
}

/*
 * read_keys fills the hash table; leaves 'keys' NULL when they do not fit.
 */
static void
read_keys(Relationship *relationship)
{
	KeyReceiver receiver = {0};
	SPIExecuteOptions options = {0};

	relationship->keys_context = AllocSetContextCreate(GetMemoryChunkContext(relationship),
													   "etl parent keys", ALLOCSET_DEFAULT_SIZES);
	relationship->keys = parent_create(relationship->keys_context, 1024, relationship);
	relationship->probing = false;
	receiver.pub.receiveSlot = keys_receive;
	receiver.pub.rStartup = keys_startup;
	receiver.pub.rShutdown = keys_nothing;
	receiver.pub.rDestroy = keys_nothing;
	receiver.pub.mydest = DestTuplestore;
	receiver.relationship = relationship;

	begin_read();
	options.dest = (DestReceiver *) &receiver;
	options.read_only = true;
	if (SPI_execute_extended(relationship->keys_sql, &options) < 0)
		elog(ERROR, "could not read: %s", relationship->keys_sql);
	end_read();

	relationship->probing = true;
	if (receiver.full)
	{
		relationship->keys = NULL;
		MemoryContextDelete(relationship->keys_context);
		relationship->keys_context = NULL;
		relationship->hashable = false;
	}
}

/*
 * load_keys reads the parent's keys once.  Whatever it raises makes the
 * check an error for good.
 */
static void
load_keys(EtlCheckState *state)
{
	Relationship *relationship = state->material;

	read_keys(relationship);
	if (!relationship->hashable && !relationship->indexed)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("the keys of %s do not fit into maintenance_work_mem, and no index leads with them",
						etl_json_get_text(state->def->options, "to")),
				 errhint("Create an index on its columns, or raise maintenance_work_mem.")));
}

/*
 * probe_parent asks the parent itself, through a kept plan.
 */
static bool
probe_parent(EtlCheckState *state)
{
	Relationship *relationship = state->material;
	bool		found;

	begin_read();
	if (relationship->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(relationship->probe_sql, relationship->n,
									  relationship->param_types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare: %s", relationship->probe_sql);
		relationship->plan = plan;
	}
	if (SPI_execute_plan(relationship->plan, relationship->probe_values, NULL, true, 1) < 0)
		elog(ERROR, "could not run: %s", relationship->probe_sql);
	found = SPI_processed > 0;
	end_read();
	return found;
}

/*
 * etl_relationship_exists tells whether the row's columns are found in the
 * parent; a row with a null among them passes.
 */
bool
etl_relationship_exists(EtlCheckState *state, TupleTableSlot *slot)
{
	Relationship *relationship = state->material;

	for (int i = 0; i < relationship->n; i++)
	{
		bool		isnull;

		if (slot->tts_isnull[state->attnos[i] - 1])
			return true;
		relationship->probe_values[i] = ExecEvalExpr(relationship->probe[i], state->set->econtext,
													 &isnull);
		if (isnull)
			return true;
	}

	if (relationship->keys == NULL && relationship->hashable &&
		(!relationship->indexed || relationship->probes++ >= PROBES_BEFORE_HASH))
	{
		Datum	   *sought = relationship->probe_values;

		/* reading the keys uses probe_values for its own */
		relationship->probe_values = MemoryContextAllocZero(state->set->context,
															sizeof(Datum) * relationship->n);
		load_keys(state);
		relationship->probe_values = sought;
	}
	if (relationship->keys != NULL)
		return parent_lookup_hash(relationship->keys, relationship->probe_values,
								  key_hash(relationship, relationship->probe_hash,
										   relationship->probe_values)) != NULL;
	return probe_parent(state);
}
