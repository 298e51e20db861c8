/*-------------------------------------------------------------------------
 *
 * traits.c
 *    What besides its inputs decides a query's result.
 *
 * The clock, parameters of the run, and the text of the views and functions
 * below the query that no definition holds.  Every query, view and function
 * is a part: what it shows by itself, and which parts are right below it.
 * A thousand models share their parts, so those of views and functions are
 * kept in the process until a catalog that they rest on changes; managed
 * views are looked through, and their text does not count.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "common/guc.h"
#include "common/json.h"
#include "common/names.h"
#include "model/internal.h"
#include "model/part_text.h"
#include "model/query_part.h"
#include "model/traits.h"

static MemoryContext parts_memory = NULL;
static HTAB *parts = NULL;		/* EtlQueryPartKey → EtlQueryPart * */
static bool parts_are_stale = false;
static int	parts_in_use = 0;	/* nested: what is evaluated in a body may ask for a plan */
static uint64 visit = 0;

/* An entry of 'parts'. */
typedef struct PartEntry
{
	EtlQueryPartKey key;
	EtlQueryPart *part;
} PartEntry;

/* ---- the parts that are kept ---- */

/*
 * forget_parts notes that the parts may not be what they were.
 */
static void
forget_parts(Datum arg, Oid relid)
{
	parts_are_stale = true;
}

static void
forget_parts_of_catalog(Datum arg, int cache, uint32 hash)
{
	parts_are_stale = true;
}

/*
 * begin_parts makes the table of the parts, and anew when one may have changed.
 */
static void
begin_parts(void)
{
	static const int catalogs[] = {PROCOID, AGGFNOID, OPEROID, TYPEOID, CASTSOURCETARGET, NAMESPACEOID,
								   AUTHMEMMEMROLE};
	static bool registered = false;
	HASHCTL		control = {.keysize = sizeof(EtlQueryPartKey), .entrysize = sizeof(PartEntry)};

	if (!registered)
	{
		registered = true;
		CacheRegisterRelcacheCallback(forget_parts, 0);
		for (int i = 0; i < lengthof(catalogs); i++)
			CacheRegisterSyscacheCallback(catalogs[i], forget_parts_of_catalog, 0);
	}
	if (parts != NULL && (!parts_are_stale || parts_in_use > 0))
		return;
	if (parts_memory != NULL)
		MemoryContextDelete(parts_memory);
	parts = NULL;
	parts_memory = NULL;
	parts_are_stale = false;
	parts_memory = AllocSetContextCreate(CacheMemoryContext, "etl parts of queries", ALLOCSET_DEFAULT_SIZES);
	control.hcxt = parts_memory;
	parts = hash_create("etl parts of queries", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * key_of tells apart the parts that one view or function can be.
 */
static EtlQueryPartKey
key_of(const EtlCallee *callee, Oid user, uint64 settings)
{
	EtlQueryPartKey key;

	memset(&key, 0, sizeof(key));
	key.object = callee->object;
	key.is_view = callee->is_view;
	if (callee->is_view)
		return key;
	key.user = user;
	key.settings = settings;
	if (callee->ntypes > 0)
		key.types = hash_bytes_extended((const unsigned char *) callee->types,
										sizeof(Oid) * callee->ntypes, 0);
	return key;
}

/*
 * make_part looks at a view or function and keeps what it found.
 */
static EtlQueryPart *
make_part(const EtlCallee *callee, const EtlQueryPartKey *key)
{
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "etl part", ALLOCSET_SMALL_SIZES);
	EtlQueryPart *part = MemoryContextAllocZero(memory, sizeof(EtlQueryPart));
	PartEntry  *entry;

	part->key = *key;
	etl_query_part_of_callee(part, memory, callee);
	MemoryContextSetParent(memory, parts_memory);
	entry = hash_search(parts, key, HASH_ENTER, NULL);
	entry->part = part;
	return part;
}

/* ---- a query, and all below it ---- */

typedef struct Closure
{
	EtlQueryTraits *traits;
	List	   *told;			/* char * */
	uint64		visit;
	Oid			user;
	uint64		settings;
} Closure;

/*
 * is_managed tells whether a part is a view whose definition has a version.
 * What was true in this transaction is not looked up for each model again: if
 * it is not true any more, a model is built once more.
 */
static bool
is_managed(EtlQueryPart *part)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();

	if (part->key.is_view && part->managed_at != now)
	{
		part->managed = etl_node_owner(part->name) != NULL;
		part->managed_at = now;
	}
	return part->managed;
}

/*
 * add_part adds what a part shows, and the parts below it, once each.
 */
static void
add_part(Closure *closure, EtlQueryPart *part)
{
	ListCell   *cell;

	check_stack_depth();
	closure->traits->uses_clock |=
		part->uses_clock || part->uses_words ||
		(part->time_of_param && etl_params != NULL && etl_text_is_moment(etl_params));
	closure->traits->all_params |= part->all_params;
	foreach(cell, part->params)
		closure->traits->params = etl_names_add(closure->traits->params, lfirst(cell));
	if (part->told != NULL && !is_managed(part))
		closure->told = lappend(closure->told, part->told);
	foreach(cell, part->callees)
	{
		EtlQueryPartKey key = key_of(lfirst(cell), closure->user, closure->settings);
		PartEntry  *entry = hash_search(parts, &key, HASH_FIND, NULL);
		EtlQueryPart *other = entry ? entry->part : make_part(lfirst(cell), &key);

		if (other->visit == closure->visit)
			continue;
		other->visit = closure->visit;
		add_part(closure, other);
	}
}

/*
 * add_parts adds a query and all below it.
 */
static void
add_parts(Closure *closure, EtlQueryPart *part)
{
	begin_parts();
	closure->visit = ++visit;
	closure->user = GetUserId();
	closure->settings = etl_settings_hash();
	parts_in_use++;
	PG_TRY();
	{
		add_part(closure, part);
	}
	PG_FINALLY();
	{
		parts_in_use--;
	}
	PG_END_TRY();
}

/*
 * by_text compares two texts of a list.
 */
static int
by_text(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/*
 * object_of makes a JSON object of what is told, the same whatever the order
 * that it was found in.
 */
static char *
object_of(List *told)
{
	StringInfoData text;
	ListCell   *cell;

	list_sort(told, by_text);
	initStringInfo(&text);
	foreach(cell, told)
		appendStringInfo(&text, "%s%s", text.len ? ", " : "{", (char *) lfirst(cell));
	appendStringInfoChar(&text, '}');
	return text.data;
}

void
etl_query_traits(Query *query, const EtlModel *model, EtlQueryTraits *traits)
{
	EtlQueryPart part = {0};
	Closure		closure = {.traits = traits};
	ListCell   *cell;

	memset(traits, 0, sizeof(*traits));
	etl_query_part_of(&part, CurrentMemoryContext, query, model->query);
	traits->uses_words = part.uses_words;
	foreach(cell, etl_json_get_list(model->options, "depends_on"))
	{
		Oid			relid = etl_name_relation(etl_name_canonical(lfirst(cell)));

		if (OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_VIEW)
			etl_query_part_add_view(&part, CurrentMemoryContext, relid);
	}
	if (part.callees == NIL)
		add_part(&closure, &part);
	else
		add_parts(&closure, &part);
	if (closure.told != NIL)
		traits->below = object_of(closure.told);
}
