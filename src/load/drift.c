/*-------------------------------------------------------------------------
 *
 * drift.c
 *    What happens when records and relation disagree: the schema policy.
 *
 * A change of the relation (a new column, a wider type) cannot be made while
 * rows of the load are on their way: it is noted, the load's subtransaction
 * is left, and the load begins anew with the change made first.  Type of a
 * new column is inferred from every value that the load has for it.
 *
 * Columns that must become wider are gathered before the load begins anew: it
 * looks at the records that follow, more of them with every try, and lands
 * none of them.  However many columns there are and wherever their first wide
 * values stand, a load has few tries, and reads little in vain.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "common/errors.h"
#include "common/names.h"
#include "load/landing.h"

/*
 * etl_drift_restart leaves the load's subtransaction so that attempt.c can begin
 * it again with what 'landing' asks for.
 */
void
etl_drift_restart(EtlLanding *landing)
{
	landing->restart = true;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("the load of \"%s\" must begin again with a changed schema",
					landing->stream->target)));
}

/*
 * etl_drift_look_on: see landing.h.
 */
void
etl_drift_look_on(EtlLanding *landing)
{
	if (--landing->looks_on == 0)
		etl_drift_restart(landing);
}

/*
 * is_mapped tells whether a column already has a field.
 */
static bool
is_mapped(EtlLanding *landing, int column)
{
	for (int i = 0; i < landing->nmapped; i++)
		if (landing->map[i] == column)
			return true;
	return false;
}

/*
 * etl_drift_column finds the column of a foreign name: by the original name
 * kept in its comment, by its own name, by the name in snake_case.
 */
int
etl_drift_column(EtlLanding *landing, const char *field)
{
	char	   *identifier;

	for (int i = 0; i < landing->ncolumns; i++)
		if (landing->columns[i].original && strcmp(landing->columns[i].original, field) == 0)
			return i;
	for (int i = 0; i < landing->ncolumns; i++)
		if (strcmp(landing->columns[i].name, field) == 0 && !is_mapped(landing, i))
			return i;
	identifier = etl_snake_case(field);
	for (int i = 0; i < landing->ncolumns; i++)
		if (strcmp(landing->columns[i].name, identifier) == 0 && !is_mapped(landing, i) &&
			landing->columns[i].original == NULL)
			return i;
	return -1;
}

/*
 * is_computed tells whether a field's column makes its own values.
 */
static bool
is_computed(EtlLanding *landing, const char *field)
{
	TupleDesc	desc = RelationGetDescr(landing->rel);
	char	   *identifier = etl_snake_case(field);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped &&
			(att->attgenerated || att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS) &&
			(strcmp(NameStr(att->attname), field) == 0 || strcmp(NameStr(att->attname), identifier) == 0))
			return true;
	}
	return false;
}

/*
 * journal_once writes a schema change that would repeat itself row by row.
 */
static void
journal_once(EtlLanding *landing, const char *change, const char *column, const char *type)
{
	char	   *entry = psprintf("%s %s", change, column);
	MemoryContext old;
	ListCell   *cell;

	foreach(cell, landing->journaled)
		if (strcmp(lfirst(cell), entry) == 0)
			return;
	old = MemoryContextSwitchTo(landing->context);
	landing->journaled = lappend(landing->journaled, pstrdup(entry));
	MemoryContextSwitchTo(old);
	etl_schema_change_store(landing->stream->target, landing->load->load_id, change, column, type,
							NULL);
}

/*
 * refuse_path_column raises ET007 when a field would land in the column that
 * a path column fills, or has its name: one of the two values would be lost.
 */
static void
refuse_path_column(EtlLanding *landing, const char *field, int column)
{
	int			i = 0;
	ListCell   *cell;

	foreach(cell, landing->options->path_columns)
	{
		const char *name = ((EtlPathColumn *) lfirst(cell))->name;

		if (strcmp(name, field) == 0 || (column >= 0 && landing->path_map[i] == column))
			ereport(
				ERROR,
				(errcode(ETL_ERR_PROTOCOL),
				 errmsg("field \"%s\" of \"%s\" has the name of a path column", field,
						landing->origin),
				 errdetail(
					 "The column has room for one value: that of the record, or that of the path."),
				 errhint("Give that of the path another name, such as \"path_columns\": "
						 "{\"%s_of_path\": \"%s=([^/]*)\"}, or drop the field: \"transform\": "
						 "{\"%s\": \"drop\"}.", name, name, field)));
		i++;
	}
}

/*
 * map_field maps one field and keeps its foreign name with the column.
 */
static int
map_field(EtlLanding *landing, const char *field, int number)
{
	EtlColumn  *column;
	int			i;

	if (!landing->options->header)
	{
		i = number < landing->ncolumns ? number : -1;
		refuse_path_column(landing, field, i);
		return i;
	}
	i = etl_drift_column(landing, field);
	refuse_path_column(landing, field, i);
	if (i < 0 && is_computed(landing, field))
	{
		journal_once(landing, "field_discarded", field, NULL);
		return -2;
	}
	if (i < 0)
		return -1;
	column = &landing->columns[i];
	if (column->original == NULL && strcmp(column->name, field) != 0)
	{
		etl_relation_comment_column(landing->stream, column->name, field);
		column->original = MemoryContextStrdup(landing->context, field);
	}
	return i;
}

/*
 * etl_drift_map maps the decoder's fields that are new to it.
 */
void
etl_drift_map(EtlLanding *landing, int nfields)
{
	MemoryContext old = MemoryContextSwitchTo(landing->context);
	int			n;
	const char **fields = etl_decoder_fields(landing->decoder, &n);

	n = Min(n, nfields);
	if (landing->map == NULL)
		landing->map = palloc(sizeof(int) * n);
	else
		landing->map = repalloc(landing->map, sizeof(int) * n);
	while (landing->nmapped < n)
	{
		int			column = map_field(landing, fields[landing->nmapped], landing->nmapped);

		landing->map[landing->nmapped++] = column;
		if (column >= 0)
			landing->columns[column].mapped = landing->columns[column].ever_mapped = true;
	}
	MemoryContextSwitchTo(old);
}

EtlPolicy
etl_drift_unknown_field(EtlLanding *landing, const char *field)
{
	switch (landing->options->columns)
	{
		case ETL_EVOLVE:
			/* a replayed record cannot change the relation: its one value proves no type */
			if (landing->replay != NULL)
				return ETL_QUARANTINE;
			landing->infer = true;
			etl_drift_restart(landing);
			break;
		case ETL_FREEZE:
			ereport(ERROR, (errcode(ETL_ERR_SCHEMA_FROZEN),
							errmsg("field \"%s\" of %s has no column in \"%s\"", field,
								   landing->origin, landing->stream->target),
							errdetail("The stream's schema_policy freezes columns."),
							errhint("Add the column, or let columns evolve, discard_value, "
									"discard_row or quarantine.")));
			break;
		case ETL_DISCARD_VALUE:
			journal_once(landing, "field_discarded", field, NULL);
			break;
		default:
			break;
	}
	return landing->options->columns;
}

/*
 * wider_type is the type that holds what the column holds and this value,
 * too: text when none of the wider ones does.
 */
static Oid
wider_type(EtlLanding *landing, const EtlColumn *column, const EtlValue *value)
{
	Oid			type = TEXTOID;
	Datum		datum;
	bool		isnull;

	if (column->type == INT8OID && (value->kind == ETL_VALUE_NUMBER ||
									value->text[strspn(value->text, "-0123456789.")] == '\0'))
		type = NUMERICOID;
	else if (column->type == DATEOID && value->kind == ETL_VALUE_TEXT)
		type = TIMESTAMPTZOID;
	if (type != TEXTOID &&
		etl_coerce(etl_coercer_make(type, -1, &landing->options->coerce), value, &datum, &isnull) != NULL)
		return TEXTOID;
	return type;
}

/*
 * known_widening finds what became of an earlier wish to widen a column.
 */
static EtlWidening *
known_widening(EtlLanding *landing, const char *column)
{
	ListCell   *cell;

	foreach(cell, landing->widenings)
		if (strcmp(((EtlWidening *) lfirst(cell))->column, column) == 0)
			return lfirst(cell);
	return NULL;
}

/*
 * widen_or_tell asks for a restart with a wider column; where the column
 * must stay as it is, returns why, NULL when no wider type is known.
 */
static const char *
widen_or_tell(EtlLanding *landing, EtlColumn *column, Oid type)
{
	EtlWidening *widening;
	MemoryContext old;

	if (type == TEXTOID || landing->replay != NULL)
		return NULL;
	widening = known_widening(landing, column->name);
	if (widening == NULL)
	{
		old = MemoryContextSwitchTo(landing->restart_context);
		widening = palloc0(sizeof(EtlWidening));
		widening->column = pstrdup(column->name);
		widening->type = type;
		widening->refused = etl_widen_hindrance(RelationGetRelid(landing->rel), column->attnum);
		landing->widenings = lappend(landing->widenings, widening);
		MemoryContextSwitchTo(old);
	}
	column->widens = widening->refused == NULL;
	if (column->widens && landing->looks_on == 0)
		landing->looks_on = (int64) ETL_BATCH_ROWS << 2 * Min(landing->tries, 20);
	return widening->refused;
}

EtlPolicy
etl_drift_misfit(EtlLanding *landing, EtlColumn *column, const EtlValue *value, const char **remedy)
{
	Oid			type;
	const char *refused;

	*remedy = NULL;
	switch (landing->options->data_type)
	{
		case ETL_EVOLVE:
			if (column->declared)
				break;
			/* the record comes again, when the column is wider */
			if (column->widens)
				return ETL_DISCARD_VALUE;
			type = wider_type(landing, column, value);
			refused = widen_or_tell(landing, column, type);
			if (landing->looks_on > 0)
				return ETL_DISCARD_VALUE;
			*remedy = etl_widen_sql(landing->stream, landing->options, column->name, type);
			if (refused != NULL)
				*remedy = psprintf("%s (%s)", *remedy, refused);
			break;
		case ETL_FREEZE:
			ereport(ERROR,
					(errcode(ETL_ERR_SCHEMA_FROZEN),
					 errmsg("a value of column \"%s\" does not fit its type %s in %s", column->name,
							format_type_be(column->type), landing->origin),
					 errdetail("The stream's schema_policy freezes data types."),
					 errhint("Correct the source, change the column's type, or let data_type quarantine.")));
			break;
		case ETL_DISCARD_VALUE:
			journal_once(landing, "value_discarded", column->name, format_type_be(column->type));
			break;
		default:
			break;
	}
	return landing->options->data_type;
}
