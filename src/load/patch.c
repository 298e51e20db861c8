/*-------------------------------------------------------------------------
 *
 * patch.c
 *    The values of a replay's patch in the place of a record's own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"


#include "common/json.h"
#include "load/land.h"

/*
 * note_patched remembers that a key of a replay's patch meant something.
 */
static void
note_patched(EtlLanding *landing, const char *key)
{
	EtlReplay  *replay = landing->replay;
	MemoryContext old;
	ListCell   *cell;

	foreach(cell, replay->patched)
		if (strcmp(lfirst(cell), key) == 0)
			return;
	old = MemoryContextSwitchTo(landing->context);
	replay->patched = lappend(replay->patched, pstrdup(key));
	MemoryContextSwitchTo(old);
}

/*
 * etl_patch_value returns the value that a replay's patch puts in the place of a
 * field's, or the field's own.
 */
const EtlValue *
etl_patch_value(EtlLanding *landing, const char *field, int c, const EtlValue *value, EtlValue *patched)
{
	const Jsonb *patch = landing->replay->patch;
	const char *column = c >= 0 ? landing->columns[c].name : NULL;
	JsonbValue *found = NULL;
	const char *key = field;

	for (int i = 0; i < 2 && found == NULL; i++, key = column)
	{
		if (key != NULL)
			found = getKeyJsonValueFromContainer(unconstify(JsonbContainer *, &patch->root), key,
												 strlen(key), NULL);
		if (found != NULL)
			note_patched(landing, key);
	}
	if (found == NULL)
		return value;
	memset(patched, 0, sizeof(*patched));
	patched->text = "";
	if (found->type == jbvNull)
		patched->kind = ETL_VALUE_NULL;
	else
	{
		Jsonb	   *document = JsonbValueToJsonb(found);

		patched->text = etl_json_bare_text(document);
		patched->length = strlen(patched->text);
		patched->from_json = true;
		patched->kind = found->type == jbvString  ? ETL_VALUE_TEXT :
						found->type == jbvNumeric ? ETL_VALUE_NUMBER :
						found->type == jbvBool	  ? ETL_VALUE_BOOL :
													ETL_VALUE_JSON;
	}
	return patched;
}

/*
 * etl_land_patch puts the values of a replay's patch in the place of the
 * record's own.
 */
void
etl_land_patch(EtlLanding *landing, EtlRecord *record)
{
	EtlValue   *values = palloc(sizeof(EtlValue) * Max(record->nvalues, 1));
	int			n;
	const char **fields;

	etl_drift_map(landing, record->nvalues);
	fields = etl_decoder_fields(landing->decoder, &n);
	for (int f = 0; f < record->nvalues; f++)
		values[f] = *etl_patch_value(landing, fields[f], landing->map[f], &record->values[f], &values[f]);
	record->values = values;
}
