/*-------------------------------------------------------------------------
 *
 * transform_items.c
 *    What becomes of the items of lists before anything is stored.
 *
 * The lists of a record that land in child tables are transformed with it:
 * each item is flattened and transformed by what the option "transform" says
 * of its path, and written again as JSON, with its own lists.  The child then
 * lands it as it is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "load/transform_rules.h"

/* The transform of one path's items. */
typedef struct Chain
{
	char	   *path;
	EtlDecoder *decoder;		/* NULL: nothing is said of them */
} Chain;

struct EtlItemTransform
{
	MemoryContext context;
	const EtlTransform *transform;
	const Jsonb *nested;
	List	   *chains;			/* Chain * */
	StringInfoData item;
};

EtlItemTransform *
etl_item_transform_begin(const EtlTransform *transform, const Jsonb *nested)
{
	EtlItemTransform *items = palloc0(sizeof(EtlItemTransform));

	items->context = CurrentMemoryContext;
	items->transform = transform;
	items->nested = nested;
	initStringInfo(&items->item);
	return items;
}

/*
 * open_chain makes the decoder of a path's items.
 */
static EtlDecoder *
open_chain(const EtlItemTransform *items, const char *path)
{
	Jsonb	   *said = etl_transform_within(items->transform->option, path);
	Jsonb	   *nested = etl_nested_within(items->nested, path);
	EtlTransform *transform;
	EtlDecoder *decoder;

	if (said == NULL)
		return NULL;
	transform = etl_transform_of(said);
	etl_transform_bind(transform, items->transform, path);
	decoder = etl_decoder_flatten(etl_decoder_of_items(path), nested, false, etl_transform_names(transform));
	return etl_decoder_transform(decoder, transform, true, true, true, nested, false);
}

/*
 * chain_of returns the chain of a path, made with its first list.
 */
static Chain *
chain_of(EtlItemTransform *items, const char *path)
{
	MemoryContext old;
	Chain	   *chain;
	ListCell   *cell;

	foreach(cell, items->chains)
		if (strcmp(((Chain *) lfirst(cell))->path, path) == 0)
			return lfirst(cell);
	old = MemoryContextSwitchTo(items->context);
	chain = palloc0(sizeof(Chain));
	chain->path = pstrdup(path);
	chain->decoder = open_chain(items, path);
	items->chains = lappend(items->chains, chain);
	MemoryContextSwitchTo(old);
	return chain;
}

/*
 * close_item makes an object of an item as etl_nested_next hands it out.
 */
static void
close_item(StringInfo item)
{
	if (item->data[item->len - 1] == ',')
		item->data[--item->len] = '\0';
	appendStringInfoChar(item, '}');
}

/*
 * transform_list puts a list of transformed items in the place of another.
 */
static EtlRecordState
transform_list(EtlItemTransform *items, Chain *chain, EtlNestedList *list, EtlDecoder *outer,
			   EtlRecord *record)
{
	StringInfoData out;
	char	   *at = NULL;

	initStringInfo(&out);
	appendStringInfoChar(&out, '[');
	while (etl_nested_next(list, &at, &items->item))
	{
		EtlRecord	item = {0};

		close_item(&items->item);
		etl_decoder_feed(chain->decoder, items->item.data, items->item.len);
		if (etl_decoder_next(chain->decoder, &item) != ETL_RECORD_OK)
			return etl_decoder_refuse(
				outer, record, item.problem_code,
				item.problem_field ? psprintf("%s.%s", list->path, item.problem_field) : list->path,
				item.problem);
		appendStringInfo(&out, "%s", out.len > 1 ? "," : "");
		appendBinaryStringInfo(&out, item.raw, item.raw_length);
	}
	appendStringInfoChar(&out, ']');
	list->text = out.data;
	list->length = out.len;
	return ETL_RECORD_OK;
}

EtlRecordState
etl_item_transform(EtlItemTransform *items, EtlDecoder *outer, EtlRecord *record)
{
	for (int i = 0; i < record->nlists; i++)
	{
		Chain	   *chain = chain_of(items, record->lists[i].path);

		if (chain->decoder != NULL &&
			transform_list(items, chain, &record->lists[i], outer, record) != ETL_RECORD_OK)
			return ETL_RECORD_BAD;
	}
	return ETL_RECORD_OK;
}
