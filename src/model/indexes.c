/*-------------------------------------------------------------------------
 *
 * indexes.c
 *    What the options "indexes" and "unique" of a model ask for.
 *
 * Both are a list whose entries are lists of column names, or texts as they
 * stand between the parentheses of CREATE INDEX.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/options.h"
#include "common/parse.h"
#include "model/internal.h"

/*
 * refuse raises ET001 for an option that does not describe indexes.
 */
static void
refuse(const char *option, const char *detail)
{
	ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
					errmsg("invalid value for option \"%s\"", option), errdetail("%s", detail),
					errhint("Give a list of lists of columns and of texts, such as "
							"[[\"day\", \"country\"], \"lower(email)\"].")));
}

/*
 * column_names reads an entry that is a list of column names.
 */
static List *
column_names(const char *option, JsonbContainer *container)
{
	List	   *names = NIL;
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbValue	item;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (item.type != jbvString || item.val.string.len == 0)
			refuse(option, "A list of columns holds what is not the name of one.");
		names = lappend(names, pnstrdup(item.val.string.val, item.val.string.len));
	}
	if (names == NIL)
		refuse(option, "A list of columns is empty.");
	if (etl_name_twice(names) != NULL)
		refuse(option, psprintf("An index names column \"%s\" twice.", etl_name_twice(names)));
	return names;
}

/*
 * etl_index_parse returns the statement that would make an index of a text.
 */
IndexStmt *
etl_index_parse(const char *text)
{
	List	   *statements = etl_parse(psprintf("CREATE INDEX ON t (%s\n)", text));

	return list_length(statements) == 1 ? (IndexStmt *) linitial_node(RawStmt, statements)->stmt : NULL;
}

/*
 * text_columns returns the plain columns of an entry that is a text.
 */
static List *
text_columns(const char *option, const char *text)
{
	IndexStmt  *index = etl_index_parse(text);
	List	   *names = NIL;
	ListCell   *cell;

	if (index == NULL || !IsA(index, IndexStmt) || index->whereClause != NULL ||
		index->indexIncludingParams != NIL || index->options != NIL || index->tableSpace != NULL)
		refuse(option, psprintf("\"%s\" is more than columns and expressions.", text));
	foreach(cell, index->indexParams)
		if (lfirst_node(IndexElem, cell)->name != NULL)
			names = lappend(names, lfirst_node(IndexElem, cell)->name);
	return names;
}

List *
etl_model_indexes(const EtlModel *model, const char *option)
{
	Jsonb	   *list = etl_json_get(model->options, option);
	List	   *result = NIL;
	JsonbIterator *it;
	JsonbValue	item;
	JsonbIteratorToken token;

	if (list == NULL)
		return NIL;
	if (etl_json_kind(list) != 'a')
		refuse(option, "It is not a list.");
	it = JsonbIteratorInit(&list->root);
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		EtlModelIndex *index = palloc0(sizeof(EtlModelIndex));

		if (token != WJB_ELEM)
			continue;
		if (item.type == jbvString)
		{
			index->text = pnstrdup(item.val.string.val, item.val.string.len);
			index->columns = text_columns(option, index->text);
		}
		else if (item.type == jbvBinary && JsonContainerIsArray(item.val.binary.data))
			index->columns = column_names(option, item.val.binary.data);
		else
			refuse(option, "An entry is neither a list nor a text.");
		result = lappend(result, index);
	}
	return result;
}

void
etl_model_indexes_check(const EtlModel *model, List *columns)
{
	static const char *const options[] = {"indexes", "unique"};
	ListCell   *cell;
	ListCell   *name;

	for (int i = 0; i < lengthof(options); i++)
		foreach(cell, etl_model_indexes(model, options[i]))
			foreach(name, ((EtlModelIndex *) lfirst(cell))->columns)
				if (columns != NIL && !etl_name_among(columns, lfirst(name)))
				{
					const char *nearest = etl_nearest(lfirst(name), columns);

					ereport(ERROR,
							(errcode(ETL_ERR_DEFINITION),
							 errmsg("option \"%s\" names column \"%s\", which the query does not have",
									options[i], (char *) lfirst(name)),
							 nearest ? errhint("Did you mean \"%s\"?", nearest) : 0));
				}
}
