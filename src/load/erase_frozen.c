/*-------------------------------------------------------------------------
 *
 * erase_frozen.c
 *    Frozen keys of models that name what is erased.
 *
 * Retention leaves the keys of rows that are gone in etl.frozen_key.  Those
 * whose columns show a value of an erased key as it is are taken out, and
 * their model is built in full next: by itself it would follow a late row of
 * such a key from what is left, and be wrong.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "catalog/change.h"
#include "catalog/erase.h"
#include "catalog/kept.h"
#include "load/erase.h"

/*
 * value_texts returns the texts that a value may have in a frozen key.
 */
static List *
value_texts(const EtlEraseValue *wanted)
{
	List	   *texts = list_make1(wanted->text);
	Datum		value = wanted->value;
	Oid			output;
	bool		varlena;
	int			level;

	if (!OidIsValid(wanted->type))
		return texts;
	if (wanted->type == NUMERICOID)
		value = DirectFunctionCall1(numeric_trim_scale, value);
	getTypeOutputInfo(wanted->type, &output, &varlena);
	level = etl_change_text_begin();
	texts = lappend(texts, OidOutputFunctionCall(output, value));
	AtEOXact_GUC(false, level);
	return texts;
}

/*
 * erase_key takes the keys out that one key names, in one model.
 */
static int64
erase_key(const char *stream, const char *model, List *key, bool dry_run)
{
	List	   *columns = NIL;
	List	   *values = NIL;
	ListCell   *cell;
	ListCell   *column;
	ListCell   *text;

	foreach(cell, key)
	{
		EtlEraseValue *wanted = lfirst(cell);
		List	   *texts = value_texts(wanted);

		foreach(column, etl_columns_showing(model, stream, wanted->column))
			foreach(text, texts)
			{
				columns = lappend(columns, lfirst(column));
				values = lappend(values, lfirst(text));
			}
	}
	return columns == NIL ? 0 : etl_frozen_erase(model, columns, values, dry_run);
}

int64
etl_erase_frozen(const char *stream, const char *model, List *keys, const char *why, bool dry_run)
{
	int64		erased = 0;
	ListCell   *cell;

	foreach(cell, keys)
		erased += erase_key(stream, model, lfirst(cell), dry_run);
	if (erased > 0 && !dry_run)
		etl_node_must_rebuild(model, psprintf("keys of %s are gone: %s", stream, why));
	return erased;
}
