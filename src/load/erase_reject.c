/*-------------------------------------------------------------------------
 *
 * erase_reject.c
 *    Rejects that are copies of what is erased.
 *
 * A record is decoded again and compared value by value with the keys.  One
 * that cannot be decoded, or of which only the beginning was kept, is meant
 * when every value of a key stands in it as a word: rather one too many.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "catalog/erase.h"
#include "common/json.h"
#include "common/names.h"
#include "load/children.h"
#include "load/erase.h"
#include "load/reread.h"

#define PAGES 256

/* What is looked for, and where. */
typedef struct Search
{
	const EtlStream *stream;	/* NULL: of a model */
	const EtlLoadOptions *options;
	EtlReread  *reread;
	Oid			relid;			/* of the stream; InvalidOid: there is none */
	List	   *columns;		/* char *: of the relation */
	List	   *keys;
	HTAB	   *parents;		/* NULL: by keys */
} Search;

/* ---- one record ---- */

/*
 * equal_value compares a value of a record with one of a key, in the type of
 * the column where that can be done without an error.
 */
static bool
equal_value(const Search *search, const EtlValue *value, const EtlEraseValue *wanted)
{
	TypeCacheEntry *type;
	EtlCoercer *coercer;
	Datum		datum;
	bool		isnull = false;

	if (value->kind == ETL_VALUE_NULL)
		return false;
	if (strlen(wanted->text) == value->length && memcmp(wanted->text, value->text, value->length) == 0)
		return true;
	if (!OidIsValid(wanted->type))
		return false;
	coercer = etl_coercer_make(wanted->type, wanted->typmod, &search->options->coerce);
	if (!etl_coercer_is_soft(coercer) || etl_coerce(coercer, value, &datum, &isnull) != NULL || isnull)
		return false;
	type = lookup_type_cache(wanted->type, TYPECACHE_EQ_OPR_FINFO);
	return DatumGetBool(FunctionCall2Coll(&type->eq_opr_finfo, type->typcollation, datum, wanted->value));
}

/*
 * column_of returns the column that a field goes to.
 */
static const char *
column_of(const Search *search, const char *field, int number)
{
	ListCell   *cell;
	char	   *column;

	if (search->stream == NULL)
		return field;
	if (!search->options->header)
	{
		foreach(cell, search->columns)
			if (strncmp(lfirst(cell), "_etl_", 5) != 0 && number-- == 0)
				return lfirst(cell);
		return field;
	}
	column = etl_relation_field_column(search->columns, search->relid, field, NIL);
	return column ? column : etl_snake_case(field);
}

/*
 * has_key tells whether a decoded record has all values of a key.
 */
static bool
has_key(const Search *search, EtlDecoder *decoder, const EtlRecord *record, List *key)
{
	int			n;
	const char **fields = etl_decoder_fields(decoder, &n);
	ListCell   *cell;

	foreach(cell, key)
	{
		EtlEraseValue *wanted = lfirst(cell);
		bool		found = false;

		for (int i = 0; i < record->nvalues && !found; i++)
			found = equal_value(search, &record->values[i], wanted) &&
					strcmp(column_of(search, fields[i], i), wanted->column) == 0;
		if (!found)
			return false;
	}
	return true;
}

/*
 * is_item_of_erased tells whether a decoded item belongs to a row that is
 * erased.
 */
static bool
is_item_of_erased(const Search *search, EtlDecoder *decoder, const EtlRecord *record)
{
	int			n;
	const char **fields = etl_decoder_fields(decoder, &n);
	EtlErasedRow row = {0};

	for (int i = 0; i < record->nvalues; i++)
		if (record->values[i].kind == ETL_VALUE_NUMBER)
		{
			if (strcmp(fields[i], ETL_PARENT_LOAD_COLUMN) == 0)
				row.load_id = strtoll(record->values[i].text, NULL, 10);
			else if (strcmp(fields[i], ETL_PARENT_ROW_COLUMN) == 0)
				row.row_number = strtoll(record->values[i].text, NULL, 10);
		}
	return hash_search(search->parents, &row, HASH_FIND, NULL) != NULL;
}

/*
 * is_word tells whether bytes hold a text with nothing of a word beside it.
 */
static bool
is_word(const char *bytes, int length, const char *text)
{
	int			n = strlen(text);

	for (int i = 0; n > 0 && i + n <= length; i++)
		if (memcmp(bytes + i, text, n) == 0 && (i == 0 || !isalnum((unsigned char) bytes[i - 1])) &&
			(i + n == length || !isalnum((unsigned char) bytes[i + n])))
			return true;
	return false;
}

/*
 * holds_key tells whether the bytes of a record hold all values of a key.
 */
static bool
holds_key(const bytea *raw, List *key)
{
	ListCell   *cell;

	foreach(cell, key)
		if (!is_word(VARDATA_ANY(raw), VARSIZE_ANY_EXHDR(raw), ((EtlEraseValue *) lfirst(cell))->text))
			return false;
	return true;
}

/*
 * open_reject returns a decoder of a reject's record; NULL when it is not
 * there in whole.
 */
static EtlDecoder *
open_reject(const Search *search, EtlRows *rows, int i, bytea *raw)
{
	char	   *origin = etl_row_text(rows, i, "origin");

	if (etl_row_int8(rows, i, "record_size") != VARSIZE_ANY_EXHDR(raw))
		return NULL;
	return etl_reread_open(search->reread, etl_row_int8(rows, i, "load_id"),
						   search->stream == NULL || etl_row_bool(rows, i, "of_row"), raw,
						   origin ? origin : "");
}

/*
 * is_meant tells whether a reject is a copy of what is erased.
 */
static bool
is_meant(const Search *search, EtlRows *rows, int i)
{
	bool		isnull;
	bytea	   *raw = DatumGetByteaPP(etl_row_datum(rows, i, "raw", &isnull));
	EtlDecoder *decoder = open_reject(search, rows, i, raw);
	EtlRecord	record = {0};
	bool		decoded = decoder != NULL && etl_decoder_next(decoder, &record) == ETL_RECORD_OK;
	bool		meant = false;
	ListCell   *cell;

	if (search->parents != NULL)
		meant = decoded && is_item_of_erased(search, decoder, &record);
	else
		foreach(cell, search->keys)
			meant = meant || (decoded ? has_key(search, decoder, &record, lfirst(cell)) :
										holds_key(raw, lfirst(cell)));
	if (decoder != NULL)
		etl_decoder_close(decoder);
	return meant;
}

/* ---- all of them ---- */

/*
 * search_rejects goes through the rejects of a target.
 */
static int64
search_rejects(Search *search, const char *target, bool dry_run)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "etl erased rejects", ALLOCSET_DEFAULT_SIZES);
	int64		pages = etl_rejects_pages();
	int64		erased = 0;

	for (int64 page = 0; page < pages; page += PAGES)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		EtlRows    *rows = etl_rejects_in_pages(target, page, Min(page + PAGES, pages));

		for (int i = 0; i < rows->n; i++)
		{
			bool		isnull;

			CHECK_FOR_INTERRUPTS();
			if (!is_meant(search, rows, i))
				continue;
			erased++;
			if (!dry_run)
				etl_reject_erase(etl_row_int8(rows, i, "reject_id"),
								 etl_row_datum(rows, i, "ctid", &isnull));
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	return erased;
}

/*
 * begin_search prepares for the rejects of a stream.
 */
static void
begin_search(Search *search, const EtlStream *stream)
{
	search->stream = stream;
	search->options = etl_load_options_read(stream);
	search->reread = etl_reread_begin(stream, search->options);
	search->relid = etl_name_relation(stream->target);
	if (OidIsValid(search->relid))
		search->columns = etl_relation_columns(search->relid);
}

int64
etl_erase_rejects(const EtlStream *stream, List *keys, bool dry_run)
{
	Search		search = {.keys = keys};

	begin_search(&search, stream);
	return search_rejects(&search, stream->target, dry_run);
}

int64
etl_erase_item_rejects(const EtlStream *child, HTAB *parents, bool dry_run)
{
	Search		search = {.parents = parents};

	begin_search(&search, child);
	return search_rejects(&search, child->target, dry_run);
}

int64
etl_erase_model_rejects(const char *target, List *keys, bool dry_run)
{
	EtlStream	rows = {.format = "ndjson", .options = etl_json_parse("{}")};
	EtlLoadOptions options = {.is_json = true, .header = true};
	Search		search = {.keys = keys, .options = &options};

	etl_coerce_options_read(&options.coerce, rows.options);
	search.reread = etl_reread_begin(&rows, &options);
	return search_rejects(&search, target, dry_run);
}
