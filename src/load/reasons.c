/*-------------------------------------------------------------------------
 *
 * reasons.c
 *    Why a record is rejected, as jsonb.
 *
 * The shape never varies: an array of objects of the members check, column,
 * value and message.  So the bytes are put down at once, as convertJsonbValue
 * would, without its parse state and its sort of keys: adding a reason fell
 * from 2 % of the time of a load with a tenth rejected to 0.7 % (perf).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "common/json.h"
#include "load/landing.h"

#define MAX_SHOWN_VALUE 1024
#define NMEMBERS		4

/* the names of the members in the order of jsonb, by length and then by byte, without gaps */
static const char member_names[] = "checkvaluecolumnmessage";
static const uint8 name_lengths[NMEMBERS] = {5, 5, 6, 7};

/*
 * fit raises an error when jsonb cannot hold so many bytes.
 */
static void
fit(Size length)
{
	if (length > JENTRY_OFFLENMASK)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the reasons of a reject take more than %d bytes", JENTRY_OFFLENMASK)));
}

/*
 * begin_element makes room for the next element of the array, which starts
 * at a multiple of four; the padding counts as the element's.
 */
static char *
begin_element(EtlReasons *reasons, Size length)
{
	StringInfo	elements = &reasons->elements;
	char	   *element;

	if (elements->data == NULL)
		initStringInfo(elements);
	fit(length + INTALIGN(elements->len));
	enlargeStringInfo(elements, INTALIGN(elements->len) - elements->len + length);
	while (elements->len != (int) INTALIGN(elements->len))
		elements->data[elements->len++] = '\0';
	element = elements->data + elements->len;
	elements->len += length;
	reasons->ends = lappend_int(reasons->ends, elements->len);
	reasons->n++;
	return element;
}

void
etl_reasons_add(EtlReasons *reasons, const char *check, const char *column, const char *value,
				const char *message)
{
	const char *values[NMEMBERS] = {check, value, column, message};
	Size		lengths[NMEMBERS];
	Size		size = offsetof(JsonbContainer, children) + 2 * NMEMBERS * sizeof(JEntry) +
				sizeof(member_names) - 1;
	JsonbContainer *object;
	char	   *to;

	if (reasons->n == 0)
	{
		reasons->first_check = check;
		reasons->first_column = column;
		reasons->first_message = message;
	}
	for (int i = 0; i < NMEMBERS; i++)
	{
		lengths[i] = values[i] ? strlen(values[i]) : 0;
		if (values[i] == value && lengths[i] > MAX_SHOWN_VALUE)
			lengths[i] = pg_mbcliplen(value, lengths[i], MAX_SHOWN_VALUE);
		size += lengths[i];
	}

	object = (JsonbContainer *) begin_element(reasons, size);
	object->header = NMEMBERS | JB_FOBJECT;
	for (int i = 0; i < NMEMBERS; i++)
	{
		object->children[i] = JENTRY_ISSTRING | name_lengths[i];
		object->children[NMEMBERS + i] = (values[i] ? JENTRY_ISSTRING : JENTRY_ISNULL) | lengths[i];
	}
	/* the first of each JB_OFFSET_STRIDE entries says where it ends, not how long it is */
	object->children[0] |= JENTRY_HAS_OFF;
	to = (char *) &object->children[2 * NMEMBERS];
	memcpy(to, member_names, sizeof(member_names) - 1);
	to += sizeof(member_names) - 1;
	for (int i = 0; i < NMEMBERS; i++)
	{
		if (lengths[i] > 0)
			memcpy(to, values[i], lengths[i]);
		to += lengths[i];
	}
}

/*
 * etl_reasons_add_all appends the elements of an array of reasons.
 */
void
etl_reasons_add_all(EtlReasons *reasons, const Jsonb *array)
{
	uint32		n = JB_ROOT_COUNT(array);

	for (uint32 i = 0; i < n; i++)
	{
		JsonbValue *reason = getIthJsonbValueFromContainer(unconstify(JsonbContainer *, &array->root), i);

		if (reason->type != jbvBinary)
			elog(ERROR, "a reason is no object");
		if (reasons->n == 0)
		{
			Jsonb	   *first = JsonbValueToJsonb(reason);

			reasons->first_check = etl_json_get_text(first, "check");
			reasons->first_column = etl_json_get_text(first, "column");
			reasons->first_message = etl_json_get_text(first, "message");
		}
		memcpy(begin_element(reasons, reason->val.binary.len), reason->val.binary.data,
			   reason->val.binary.len);
	}
}

Jsonb *
etl_reasons_end(EtlReasons *reasons)
{
	Size		head = offsetof(Jsonb, root) + offsetof(JsonbContainer, children) +
				reasons->n * sizeof(JEntry);
	Jsonb	   *array = palloc(head + reasons->elements.len);
	int			begin = 0;

	fit(head + reasons->elements.len);
	SET_VARSIZE(array, head + reasons->elements.len);
	array->root.header = reasons->n | JB_FARRAY;
	for (int i = 0; i < reasons->n; i++)
	{
		int			end = list_nth_int(reasons->ends, i);

		array->root.children[i] =
			JENTRY_ISCONTAINER | (i % JB_OFFSET_STRIDE == 0 ? end | JENTRY_HAS_OFF : end - begin);
		begin = end;
	}
	memcpy((char *) array + head, reasons->elements.data, reasons->elements.len);
	return array;
}
