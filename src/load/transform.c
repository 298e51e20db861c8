/*-------------------------------------------------------------------------
 *
 * transform.c
 *    The option "transform": what becomes of values before anything is stored.
 *
 * A decoder around the decoder drops fields, puts keyed hashes in the place
 * of values, and adds fields derived by SQL expressions from the others.  So
 * relation, checks, previews and the reasons of rejects only ever see the
 * result.  Where fields are dropped or hashed, the bytes of a reject are
 * those of the transformed record, as JSON; a record that could not be
 * decoded keeps none.  Items of lists are transformed with their record.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "common/driver.h"
#include "common/errors.h"
#include "common/json.h"
#include "common/names.h"
#include "load/landing.h"
#include "load/transform_rules.h"
#include "secret/secret.h"

/* An expression ready to be evaluated. */
typedef struct Derivation
{
	const EtlTransformRule *rule;
	int			field;			/* of the outer record */
	ExprState  *state;
	Oid			type;
	Oid			output;			/* function */
	bool		is_json;		/* its output is JSON */
	List	   *names;			/* char *: fields that it reads, by parameter */
	int		   *inner;			/* their numbers, -1: not seen yet */
	ParamListInfo params;
} Derivation;

/* A decoder's transform. */
typedef struct Transformer
{
	MemoryContext context;		/* as long as the decoder */
	MemoryContext record;		/* as long as the record at hand */
	const EtlTransform *transform;
	bool		named;			/* fields have names; else columns go by position */
	bool		is_json;
	bool		replaces;		/* the bytes of records are made anew */
	List	   *keys;			/* char *: of ETL_TRANSFORM_HASH, by rule; NULL for other rules */
	int			nfields;		/* inner fields of which the following are known */
	const EtlTransformRule **rules;
	int		   *outer;			/* field numbers; -1: dropped */
	List	   *derivations;
	EState	   *estate;
	EtlItemTransform *items;	/* NULL: lists are values */
	bool		digest;			/* of them is a field */
} Transformer;

/*
 * hash_value puts the HMAC-SHA-256 of a value in its place, in hex.
 */
static void
hash_value(const Transformer *transformer, const char *key, EtlValue *value)
{
	pg_hmac_ctx *hmac = pg_hmac_create(PG_SHA256);
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	char	   *hex = palloc(2 * sizeof(digest) + 1);

	if (hmac == NULL || pg_hmac_init(hmac, (const uint8 *) key, strlen(key)) < 0 ||
		pg_hmac_update(hmac, (const uint8 *) value->text, value->length) < 0 ||
		pg_hmac_final(hmac, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute a hash");
	pg_hmac_free(hmac);
	hex_encode((char *) digest, sizeof(digest), hex);
	hex[2 * sizeof(digest)] = '\0';
	value->kind = ETL_VALUE_TEXT;
	value->text = hex;
	value->length = 2 * sizeof(digest);
	value->roomy = false;
	value->from_json = transformer->is_json;
}

/*
 * key_of returns the key of a hash.
 */
static const char *
key_of(const Transformer *transformer, const EtlTransformRule *rule)
{
	ListCell   *cell;

	foreach(cell, transformer->transform->rules)
		if (lfirst(cell) == rule)
			return list_nth(transformer->keys, foreach_current_index(cell));
	return NULL;
}

/*
 * know_fields decides what becomes of fields that are new.
 */
static void
know_fields(Transformer *transformer, EtlDecoder *outer, const char **names, int n)
{
	MemoryContext old = MemoryContextSwitchTo(transformer->context);
	ListCell   *cell;

	if (transformer->rules == NULL)
	{
		transformer->rules = palloc(sizeof(EtlTransformRule *) * n);
		transformer->outer = palloc(sizeof(int) * n);
	}
	else
	{
		transformer->rules = repalloc(transformer->rules, sizeof(EtlTransformRule *) * n);
		transformer->outer = repalloc(transformer->outer, sizeof(int) * n);
	}
	for (; transformer->nfields < n; transformer->nfields++)
	{
		const char *name = names[transformer->nfields];
		EtlTransformRule *rule = etl_transform_rule(transformer->transform, name);
		bool		goes = rule != NULL && rule->action == ETL_TRANSFORM_DROP;

		for (EtlTransformRule *of = rule; of != NULL; of = of->outer)
			of->met = true;
		transformer->rules[transformer->nfields] = rule;
		/* without names, a field that goes leaves its place */
		transformer->outer[transformer->nfields] =
			goes && transformer->named ? -1 : etl_decoder_field(outer, name);
		foreach(cell, transformer->derivations)
		{
			Derivation *derivation = lfirst(cell);

			if (derivation->rule == rule && derivation->field < 0)
				derivation->field = transformer->outer[transformer->nfields];

			for (int i = 0; i < list_length(derivation->names); i++)
				if (derivation->inner[i] < 0 &&
					(strcmp(list_nth(derivation->names, i), name) == 0 ||
					 strcmp(list_nth(derivation->names, i), etl_snake_case(name)) == 0))
					derivation->inner[i] = transformer->nfields;
		}
	}
	foreach(cell, transformer->derivations)
	{
		Derivation *derivation = lfirst(cell);

		if (derivation->field < 0)
			derivation->field = etl_decoder_field(outer, derivation->rule->name);
	}
	MemoryContextSwitchTo(old);
}

/* The derivations of one record, for etl_subxact. */
typedef struct Evaluation
{
	Transformer *transformer;
	const EtlRecord *record;
	EtlDecoder *outer;
	const Derivation *at;		/* the one at work */
} Evaluation;

/*
 * set_list gives an expression a list of the record whose elements are items;
 * there may be none of that name.
 */
static void
set_list(ParamExternData *param, const char *name, const EtlRecord *record)
{
	for (int i = 0; i < record->nlists; i++)
	{
		const EtlNestedList *list = &record->lists[i];

		if (strcmp(list->path, name) != 0 && strcmp(etl_snake_case(list->path), name) != 0)
			continue;
		param->isnull = false;
		param->value = PointerGetDatum(cstring_to_text_with_len(list->text, list->length));
	}
}

/*
 * set_params gives an expression the fields of the record.
 */
static void
set_params(const Derivation *derivation, const EtlRecord *record)
{
	for (int i = 0; i < derivation->params->numParams; i++)
	{
		int			number = derivation->inner[i];
		const EtlValue *field = number >= 0 && number < record->nvalues ? &record->values[number] : NULL;
		ParamExternData *param = &derivation->params->params[i];

		param->isnull = field == NULL || field->kind == ETL_VALUE_NULL;
		param->value = param->isnull ? (Datum) 0 :
									   PointerGetDatum(cstring_to_text_with_len(field->text, field->length));
		if (param->isnull)
			set_list(param, list_nth(derivation->names, i), record);
	}
}

/*
 * text_of writes the result of an expression; moments in ISO 8601, whatever
 * DateStyle says.
 */
static char *
text_of(const Derivation *derivation, Datum value)
{
	switch (derivation->type)
	{
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return JsonEncodeDateTime(palloc(MAXDATELEN + 1), value, derivation->type, NULL);
		default:
			return OidOutputFunctionCall(derivation->output, value);
	}
}

/*
 * derive evaluates every expression over the record at hand.
 */
static void
derive(void *arg)
{
	Evaluation *evaluation = arg;
	Transformer *transformer = evaluation->transformer;
	ExprContext *econtext = GetPerTupleExprContext(transformer->estate);
	MemoryContext old = MemoryContextSwitchTo(transformer->record);
	ListCell   *cell;

	ResetPerTupleExprContext(transformer->estate);
	foreach(cell, transformer->derivations)
	{
		const Derivation *derivation = lfirst(cell);
		EtlValue   *result = etl_decoder_value(evaluation->outer, derivation->field);
		Datum		value;
		bool		isnull;

		evaluation->at = derivation;
		set_params(derivation, evaluation->record);
		econtext->ecxt_param_list_info = derivation->params;
		value = ExecEvalExprSwitchContext(derivation->state, econtext, &isnull);
		if (isnull)
			continue;
		result->text = text_of(derivation, value);
		result->length = strlen(result->text);
		result->kind = derivation->is_json ? ETL_VALUE_JSON : ETL_VALUE_TEXT;
		result->roomy = false;
		result->from_json = transformer->is_json;
	}
	MemoryContextSwitchTo(old);
}

/*
 * derive_fields puts what the expressions make; the error of one makes a
 * reject of the record.  What a redacted value was, the reason does not say.
 */
static EtlRecordState
derive_fields(Transformer *transformer, EtlDecoder *outer, const EtlRecord *inner, EtlRecord *record)
{
	Evaluation	evaluation = {transformer, inner, outer, NULL};
	ErrorData  *error;

	if (transformer->derivations == NIL)
		return ETL_RECORD_OK;
	error = etl_subxact(derive, &evaluation);
	if (error == NULL)
		return ETL_RECORD_OK;
	if (!etl_fault_of_row(error))
		etl_rethrow(error);
	return etl_decoder_refuse(outer, record, "transform", evaluation.at->rule->name,
							  transformer->transform->redacts ?
								  psprintf("expression failed with SQLSTATE %s",
										   unpack_sql_state(error->sqlerrcode)) :
								  error->message);
}

/*
 * write_lists writes the lists of a record as its last field.
 */
static void
write_lists(StringInfo out, const EtlRecord *record)
{
	if (record->nlists == 0)
		return;
	appendStringInfo(out, "%s\"" ETL_LISTS_FIELD "\":{", out->len > 1 ? "," : "");
	for (int i = 0; i < record->nlists; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		escape_json(out, record->lists[i].path);
		appendStringInfoChar(out, ':');
		appendBinaryStringInfo(out, record->lists[i].text, record->lists[i].length);
	}
	appendStringInfoChar(out, '}');
}

/*
 * write_record writes the transformed record as a JSON object on one line:
 * a replay reads it as such.
 */
static char *
write_record(EtlDecoder *outer, const EtlRecord *record)
{
	StringInfoData out;
	int			n;
	const char **fields = etl_decoder_fields(outer, &n);

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	for (int i = 0; i < n; i++)
	{
		const EtlValue *value = etl_decoder_value(outer, i);

		if (i > 0)
			appendStringInfoChar(&out, ',');
		escape_json(&out, fields[i]);
		appendStringInfoChar(&out, ':');
		if (value->kind == ETL_VALUE_NULL)
			appendStringInfoString(&out, "null");
		else if (value->kind == ETL_VALUE_TEXT)
			escape_json(&out, value->text);
		else
			appendBinaryStringInfo(&out, value->text, value->length);
	}
	write_lists(&out, record);
	appendStringInfoChar(&out, '}');
	/* within texts they are escaped: these are blanks of a nested value */
	for (char *p = out.data; *p; p++)
		if (*p == '\n' || *p == '\r')
			*p = ' ';
	return out.data;
}

/*
 * redact leaves no bytes of a record that the transform has not seen.
 */
static void
redact(EtlDecoder *outer, EtlRecord *record, bool decoded)
{
	record->raw = decoded ? write_record(outer, record) : "";
	record->raw_length = strlen(record->raw);
	record->raw_sha256 = NULL;
	if (decoded)
		record->raw_size = record->raw_length;
}

/*
 * put_values puts the record's own values, hashed where they shall be.
 */
static void
put_values(Transformer *transformer, EtlDecoder *outer, const EtlRecord *inner)
{
	for (int i = 0; i < inner->nvalues; i++)
	{
		const EtlTransformRule *rule = transformer->rules[i];
		EtlValue   *value;

		if (transformer->outer[i] < 0 ||
			(rule != NULL && (rule->action == ETL_TRANSFORM_DERIVE || rule->action == ETL_TRANSFORM_DROP)))
			continue;
		value = etl_decoder_value(outer, transformer->outer[i]);
		*value = inner->values[i];
		if (rule != NULL && rule->action == ETL_TRANSFORM_HASH && value->kind != ETL_VALUE_NULL)
			hash_value(transformer, key_of(transformer, rule), value);
	}
}

/*
 * take_items transforms the lists of a record, and puts their digest.
 */
static EtlRecordState
take_items(Transformer *transformer, EtlDecoder *outer, EtlRecord *record)
{
	int			n;
	const char **fields = etl_decoder_fields(outer, &n);

	for (int i = 0; i < n && transformer->replaces && record->nlists > 0; i++)
		if (strcmp(fields[i], ETL_LISTS_FIELD) == 0 && etl_decoder_value(outer, i)->kind != ETL_VALUE_NULL)
			return etl_decoder_refuse(outer, record, "malformed", ETL_LISTS_FIELD,
									  "the field has a name that etl needs");
	if (etl_item_transform(transformer->items, outer, record) != ETL_RECORD_OK ||
		(transformer->digest && !etl_decoder_digest(outer, record)))
		return ETL_RECORD_BAD;
	return ETL_RECORD_OK;
}

/*
 * transform_record is the EtlReshape of this file.
 */
static EtlRecordState
transform_record(void *arg, EtlDecoder *outer, EtlRecord *record, EtlRecordState state)
{
	Transformer *transformer = arg;
	EtlRecord	inner = *record;
	MemoryContext old;

	MemoryContextReset(transformer->record);
	old = MemoryContextSwitchTo(transformer->record);
	if (state == ETL_RECORD_OK)
	{
		if (inner.nvalues > transformer->nfields)
		{
			int			n;
			const char **names = etl_decoder_fields(etl_decoder_inner(outer), &n);

			know_fields(transformer, outer, names, inner.nvalues);
		}
		put_values(transformer, outer, &inner);
		state = derive_fields(transformer, outer, &inner, record);
		if (state == ETL_RECORD_OK && transformer->items != NULL)
			state = take_items(transformer, outer, record);
	}
	if (transformer->replaces)
		redact(outer, record, state == ETL_RECORD_OK);
	MemoryContextSwitchTo(old);
	return state;
}

/*
 * open_keys fetches the keys of the hashes.
 */
static void
open_keys(Transformer *transformer)
{
	ListCell   *cell;

	foreach(cell, transformer->transform->rules)
	{
		const EtlTransformRule *rule = lfirst(cell);

		transformer->keys =
			lappend(transformer->keys, rule->action == ETL_TRANSFORM_HASH ?
										   etl_secret_open(transformer->context, rule->secret, NULL) :
										   NULL);
	}
}

/*
 * prepare_derivations makes the expressions ready.
 */
static void
prepare_derivations(Transformer *transformer)
{
	ListCell   *cell;

	transformer->estate = CreateExecutorState();
	foreach(cell, transformer->transform->rules)
	{
		const EtlTransformRule *rule = lfirst(cell);
		Derivation *derivation = palloc0(sizeof(Derivation));
		Node	   *expr;
		bool		varlena;
		int			n;

		if (rule->action != ETL_TRANSFORM_DERIVE ||
			(transformer->items != NULL && etl_transform_is_of_items(rule)))
			continue;
		expr = etl_transform_analyze(rule, &derivation->names);
		n = list_length(derivation->names);
		derivation->rule = rule;
		derivation->type = exprType(expr);
		derivation->is_json = exprType(expr) == JSONBOID || exprType(expr) == JSONOID;
		getTypeOutputInfo(exprType(expr), &derivation->output, &varlena);
		derivation->inner = palloc(sizeof(int) * Max(n, 1));
		derivation->params = makeParamList(n);
		for (int i = 0; i < n; i++)
		{
			derivation->inner[i] = -1;
			derivation->params->params[i].ptype = TEXTOID;
		}
		derivation->state = ExecInitExpr(expression_planner((Expr *) expr), NULL);
		derivation->field = -1;
		transformer->derivations = lappend(transformer->derivations, derivation);
	}
}

EtlDecoder *
etl_decoder_transform(EtlDecoder *inner, const EtlTransform *transform, bool named, bool is_json,
					  bool replaces, const Jsonb *nested, bool digest)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "etl transform", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Transformer *transformer = palloc0(sizeof(Transformer));
	EtlDecoder *outer;

	transformer->context = context;
	transformer->record = AllocSetContextCreate(context, "etl transformed record", ALLOCSET_DEFAULT_SIZES);
	transformer->transform = transform;
	transformer->named = named;
	transformer->is_json = is_json;
	transformer->replaces = replaces;
	transformer->items = nested ? etl_item_transform_begin(transform, nested) : NULL;
	transformer->digest = digest;
	outer = etl_decoder_reshape(inner, transform_record, transformer);
	open_keys(transformer);
	prepare_derivations(transformer);
	MemoryContextSwitchTo(old);
	return outer;
}
