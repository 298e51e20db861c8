/*-------------------------------------------------------------------------
 *
 * table_indexes.c
 *    The indexes of a stored model.
 *
 * Those that the definition wants are made, those it no longer wants are
 * dropped, and those that others made are left alone: the name of an index
 * tells which is which.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "common/brief_lock.h"
#include "common/names.h"
#include "common/progress.h"
#include "model/internal.h"

/* _etl_u01234567 */
#define TAIL 14

typedef struct WantedIndex
{
	char	   *name;
	char	   *sql;			/* from UNIQUE or INDEX on */
} WantedIndex;

/*
 * want_index adds an index whose name tells its definition, so that it is
 * made once and found again.  'more' follows the columns.
 */
static List *
want_index(List *wanted, Oid relid, bool unique, const char *more, const char *columns)
{
	WantedIndex *index = palloc(sizeof(WantedIndex));
	char	   *definition = psprintf("(%s)%s", columns, more);
	uint32		hash = DatumGetUInt32(hash_any((unsigned char *) definition, strlen(definition)));
	ListCell   *cell;

	index->name = etl_name_suffixed(get_rel_name(relid), psprintf("_etl_%c%08x", unique ? 'u' : 'i', hash));
	index->sql = psprintf("CREATE %sINDEX %s ON %s %s", unique ? "UNIQUE " : "",
						  quote_identifier(index->name), etl_quoted_relation(relid), definition);
	foreach(cell, wanted)
		if (strcmp(((WantedIndex *) lfirst(cell))->name, index->name) == 0)
			return wanted;
	return lappend(wanted, index);
}

/*
 * want_option adds the indexes of one option.
 */
static List *
want_option(List *wanted, const EtlModel *model, Oid relid, const char *option)
{
	ListCell   *cell;

	foreach(cell, etl_model_indexes(model, option))
	{
		EtlModelIndex *index = lfirst(cell);

		wanted = want_index(wanted, relid, strcmp(option, "unique") == 0, "",
							index->text ? index->text : etl_diff_column_list(index->columns, ""));
	}
	return wanted;
}

/*
 * etl_index_is_ours tells whether an index name is one that want_index makes.
 */
bool
etl_index_is_ours(const char *name)
{
	size_t		length = strlen(name);
	const char *tail = length > TAIL ? name + length - TAIL : "";

	return strncmp(tail, "_etl_", 5) == 0 && (tail[5] == 'u' || tail[5] == 'i') &&
		   strspn(tail + 6, "0123456789abcdef") == 8;
}

/*
 * key_is_served tells whether one of the indexes of a table, which others
 * made, such as a primary key, already keeps the key unique: on exactly its
 * columns, none of which may be NULL.
 */
static bool
key_is_served(Relation rel, List *indexes, List *key)
{
	bool		served = false;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;
		bool		fits = form->indisunique && form->indisvalid && form->indimmediate &&
					form->indnkeyatts == list_length(key) &&
					heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) &&
					!etl_index_is_ours(RelationGetRelationName(index));

		for (int i = 0; fits && i < form->indnkeyatts; i++)
		{
			AttrNumber	number = form->indkey.values[i];
			Form_pg_attribute column;
			bool		in_key = false;
			ListCell   *name;

			if (number <= 0)
			{
				fits = false;
				break;
			}
			column = TupleDescAttr(RelationGetDescr(rel), number - 1);
			foreach(name, key)
				in_key = in_key || strcmp(lfirst(name), NameStr(column->attname)) == 0;
			fits = in_key && column->attnotnull;
		}
		index_close(index, AccessShareLock);
		served = served || fits;
	}
	return served;
}

/*
 * wanted_indexes lists the indexes that the definition wants, one on the key,
 * where NULLs are equal, unless another serves it.
 */
static List *
wanted_indexes(const EtlModel *model, Oid relid, bool key_served)
{
	List	   *wanted = NIL;

	if (etl_model_is_snapshot(model))
	{
		wanted = want_index(wanted, relid, true, " NULLS NOT DISTINCT",
							psprintf("%s, valid_from", etl_diff_column_list(model->key, "")));
		wanted = want_index(wanted, relid, true, " NULLS NOT DISTINCT WHERE is_current",
							etl_diff_column_list(model->key, ""));
	}
	else if (model->key != NIL && !key_served)
		wanted = want_index(wanted, relid, true, " NULLS NOT DISTINCT", etl_diff_column_list(model->key, ""));
	/* slices are read and replaced by it */
	if (etl_model_has_slices(model))
		wanted = want_index(wanted, relid, false, "", quote_identifier(model->event_time));
	wanted = want_option(wanted, model, relid, "unique");
	return want_option(wanted, model, relid, "indexes");
}

bool
etl_index_same_tail(const char *a, const char *b)
{
	return strlen(a) > TAIL && strlen(b) > TAIL && strcmp(a + strlen(a) - TAIL, b + strlen(b) - TAIL) == 0;
}

/*
 * take_out returns the wanted indexes without the one that an index of that
 * name is; 'found' tells whether there was one.
 */
static List *
take_out(List *wanted, const char *name, bool *found)
{
	ListCell   *cell;

	*found = false;
	foreach(cell, wanted)
		if (etl_index_same_tail(((WantedIndex *) lfirst(cell))->name, name))
		{
			*found = true;
			return foreach_delete_current(wanted, cell);
		}
	return wanted;
}

/*
 * build_all builds indexes and returns them.
 */
static List *
build_all(Oid relid, List *wanted)
{
	List	   *made = NIL;
	ListCell   *cell;

	foreach(cell, wanted)
	{
		etl_progress_phase(psprintf("building index %d of %d", foreach_current_index(cell) + 1,
									list_length(wanted)));
		made = lappend_oid(made, etl_index_build_sql(relid, ((WantedIndex *) lfirst(cell))->sql));
	}
	return made;
}

/*
 * etl_table_indexes_beside builds, on a heap that is to take the place of a
 * table's, the indexes that the definition wants and the table does not have.
 */
List *
etl_table_indexes_beside(const EtlModel *model, Oid relid, List *have, Oid heap, List *constraints)
{
	Relation	rel = table_open(relid, AccessShareLock);
	Relation	fresh = table_open(heap, AccessShareLock);
	bool		served = key_is_served(rel, have, model->key) || key_is_served(fresh, constraints, model->key);
	List	   *wanted;
	ListCell   *cell;
	bool		found;

	table_close(fresh, NoLock);
	table_close(rel, NoLock);
	wanted = wanted_indexes(model, heap, served);
	foreach(cell, have)
		wanted = take_out(wanted, get_rel_name(lfirst_oid(cell)), &found);
	return build_all(heap, wanted);
}

bool
etl_table_key_is_kept(const EtlModel *model, Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);
	List	   *wanted = want_index(NIL, relid, true, " NULLS NOT DISTINCT", etl_diff_column_list(model->key, ""));
	bool		kept = key_is_served(rel, indexes, model->key);
	ListCell   *cell;

	table_close(rel, NoLock);
	foreach(cell, indexes)
		if (!kept)
			wanted = take_out(wanted, get_rel_name(lfirst_oid(cell)), &kept);
	return kept;
}

/*
 * compare_indexes tells which indexes a table lacks, and returns those of
 * etl's that the definition no longer wants.
 */
static List *
compare_indexes(const EtlModel *model, Oid relid, List **lacking)
{
	Relation	rel = table_open(relid, AccessShareLock);
	List	   *indexes = RelationGetIndexList(rel);
	List	   *wanted = wanted_indexes(model, relid, key_is_served(rel, indexes, model->key));
	List	   *unwanted = NIL;
	ListCell   *cell;

	table_close(rel, NoLock);
	foreach(cell, indexes)
	{
		char	   *name = get_rel_name(lfirst_oid(cell));
		bool		found;

		wanted = take_out(wanted, name, &found);
		if (!found && etl_index_is_ours(name))
			unwanted = lappend_oid(unwanted, lfirst_oid(cell));
	}
	*lacking = wanted;
	return unwanted;
}

List *
etl_table_indexes_unwanted(const EtlModel *model, Oid relid)
{
	List	   *lacking;

	return compare_indexes(model, relid, &lacking);
}

/*
 * drop_all drops indexes, which readers must have left.
 */
static void
drop_all(Oid relid, List *indexes)
{
	ListCell   *cell;

	if (indexes != NIL)
		etl_lock_briefly(relid);
	foreach(cell, indexes)
		etl_execute_utility(psprintf("DROP INDEX %s", etl_quoted_relation(lfirst_oid(cell))));
	CommandCounterIncrement();
}

void
etl_table_indexes_drop_unwanted(const EtlModel *model, Oid relid)
{
	drop_all(relid, etl_table_indexes_unwanted(model, relid));
}

/*
 * etl_table_indexes makes the indexes that the definition wants and drops
 * those it no longer wants, which readers must have left, last.  Indexes that
 * others made are left alone.
 */
void
etl_table_indexes(const EtlModel *model, Oid relid)
{
	List	   *lacking;
	List	   *unwanted = compare_indexes(model, relid, &lacking);

	(void) build_all(relid, lacking);
	drop_all(relid, unwanted);
	if (etl_model_is_snapshot(model))
		etl_snapshot_constraints(model, relid);
}
