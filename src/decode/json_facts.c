/*-------------------------------------------------------------------------
 *
 * json_facts.c
 *    What a connector must know of a page to ask for the next one.
 *
 * One pass over a document of any size: is it well-formed, how many records
 * does it hold, what stands at a few paths, what is the greatest cursor
 * value.  Only the scalars asked for are kept.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "common/errors.h"
#include "common/guc.h"
#include "common/iso_time.h"
#include "decode/json_path.h"
#include "decode/json_scan.h"

#define FACTS_WINDOW (64 * 1024)
#define MAX_PATHS	 62
#define RECORDS_BIT	 (UINT64CONST(1) << 62)

/* An open object or array. */
typedef struct Frame
{
	char		closing;
	int64		element;		/* of an array: the number of the one at hand */
	uint64		matching;		/* paths that lead here */
	bool		records;		/* its elements are the records */
	int			in_record;		/* segments of max_path matched here; -1: none */
} Frame;

/* The greatest value so far, by each order that still fits all of them. */
typedef struct Greatest
{
	bool		any;
	bool		numbers;
	bool		times;
	char	   *number;
	Datum		numeric;
	char	   *time;
	Timestamp	moment;
	char	   *text;
} Greatest;

typedef struct Facts
{
	EtlInput	input;
	EtlJsonFacts *result;
	EtlJsonPath records;
	EtlJsonPath max;
	EtlJsonPath *paths;
	int			npaths;
	Frame	   *frames;
	int			depth;
	char	   *scalar;			/* the last one, NUL-terminated */
	size_t		scalar_size;
	int			scalar_length;
	bool		ascii;
	Greatest	greatest;
} Facts;

/*
 * peek returns the next byte that is not space, or 0 at the end.
 */
static char
peek(Facts *facts)
{
	EtlInput   *input = &facts->input;

	for (;;)
	{
		while (input->start < input->end)
		{
			char		c = input->data[input->start];

			if (c != ' ' && c != '\n' && c != '\t' && c != '\r')
				return c;
			input->start++;
		}
		if (!etl_input_more(input))
			return '\0';
	}
}

/*
 * read_scalar copies the string, number or word at the window's start into
 * facts->scalar, unescaped.  False when it is none.
 */
static bool
read_scalar(Facts *facts)
{
	EtlInput   *input = &facts->input;
	JsonExtent	extent = {0};
	JsonFault	fault;
	size_t		length = 0;
	char	   *stop;
	int			word;

	for (;;)
	{
		size_t		used;
		bool		done = etl_json_extent(&extent, input->data + input->start + length,
									input->end - input->start - length, &used);

		length += used;
		if (done)
			break;
		if (length > (size_t) etl_max_record_size_kb * 1024)
			ereport(ERROR,
					(errcode(ETL_ERR_TOO_LARGE),
					 errmsg("a value of the JSON document is larger than etl.max_record_size"),
					 errhint("Raise etl.max_record_size, or name the list of the records in the option "
							 "\"records\".")));
		if (!etl_input_more(input))
			break;
	}
	if (length + ETL_PADDING > facts->scalar_size)
	{
		if (facts->scalar)
			pfree(facts->scalar);
		facts->scalar_size = Max(length + ETL_PADDING, 1024) * 2;
		facts->scalar = MemoryContextAllocHuge(CurrentMemoryContext, facts->scalar_size);
	}
	memcpy(facts->scalar, input->data + input->start, length);
	memset(facts->scalar + length, 0, ETL_PADDING);
	input->start += length;
	facts->ascii = etl_encoding_is_ascii(facts->scalar, length);
	if (!facts->ascii && etl_encoding_fault(PG_UTF8, facts->scalar, length))
		return false;
	if (facts->scalar[0] == '"')
	{
		stop = etl_json_scan_string(facts->scalar + 1, true, &facts->scalar_length, &fault);
		/* what PostgreSQL cannot store makes a reject later, not a broken page */
		if (stop == NULL && strcmp(fault.code, "encoding") == 0)
		{
			facts->scalar_length = -1;
			return true;
		}
		return stop == facts->scalar + length;
	}
	facts->scalar_length = length;
	word = etl_json_scan_word(facts->scalar);
	return word ? word == length :
				  etl_json_scan_number(facts->scalar, &fault) == facts->scalar + length;
}

/*
 * scalar_text returns the last scalar in the server encoding; NULL for JSON
 * null.  'quoted' tells that it was a string.
 */
static char *
scalar_text(Facts *facts, bool quoted)
{
	char	   *text = facts->scalar + (quoted ? 1 : 0);

	if (facts->scalar_length < 0 || (!quoted && facts->scalar[0] == 'n'))
		return NULL;
	if (!facts->ascii || quoted)
		return pstrdup(pg_any_to_server(text, facts->scalar_length, PG_UTF8));
	return pnstrdup(text, facts->scalar_length);
}

static bool
numeric_less(Datum a, Datum b)
{
	return DatumGetBool(DirectFunctionCall2(numeric_lt, a, b));
}

/*
 * note_number takes part in the order of numbers.
 */
static void
note_number(Greatest *greatest, const char *text)
{
	Datum		value = DirectFunctionCall3(numeric_in, CStringGetDatum(text),
									  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));

	if (greatest->number && !numeric_less(greatest->numeric, value))
	{
		pfree(DatumGetPointer(value));
		return;
	}
	if (greatest->number)
	{
		pfree(greatest->number);
		pfree(DatumGetPointer(greatest->numeric));
	}
	greatest->number = pstrdup(text);
	greatest->numeric = value;
}

/*
 * note_greatest compares one cursor value with the greatest so far: as
 * numbers while all are, else as ISO timestamps while all are, else as text.
 */
static void
note_greatest(Greatest *greatest, const char *text, bool quoted)
{
	EtlIsoTime	iso;

	if (!greatest->any)
		greatest->numbers = greatest->times = true;
	greatest->any = true;

	/* an exponent beyond reason would cost more than it tells */
	if (quoted || strlen(text) > 100 || strpbrk(text, "eEtf"))
		greatest->numbers = false;
	if (greatest->numbers)
		note_number(greatest, text);

	if (greatest->times && etl_iso_time_parse(text, strlen(text), &iso))
	{
		Timestamp	moment = etl_iso_time_local(&iso) - iso.zone * USECS_PER_SEC;

		if (greatest->time == NULL || moment > greatest->moment)
		{
			if (greatest->time)
				pfree(greatest->time);
			greatest->time = pstrdup(text);
			greatest->moment = moment;
		}
	}
	else
		greatest->times = false;

	if (greatest->text == NULL || strcmp(text, greatest->text) > 0)
	{
		if (greatest->text)
			pfree(greatest->text);
		greatest->text = pstrdup(text);
	}
}

/*
 * matching_child narrows the paths of a frame to those that go on with the
 * segment 'name'.  The records' path has the bit RECORDS_BIT.
 */
static uint64
matching_child(Facts *facts, const Frame *frame, const char *name)
{
	uint64		matching = 0;
	int			at = facts->depth - 1;
	int			i;

	if (frame->matching == 0)
		return 0;
	for (i = 0; i < facts->npaths; i++)
		if (frame->matching & (UINT64CONST(1) << i) && facts->paths[i].n > at &&
			strcmp(facts->paths[i].segments[at], name) == 0)
			matching |= UINT64CONST(1) << i;
	if (frame->matching & RECORDS_BIT && facts->records.n > at &&
		strcmp(facts->records.segments[at], name) == 0)
		matching |= RECORDS_BIT;
	return matching;
}

/*
 * child_of computes what the value under the current key or element is: the
 * paths that lead to it, whether it is the records, whether it is in one.
 */
static Frame
child_of(Facts *facts, const char *key)
{
	Frame		child = {0};

	child.in_record = -1;
	if (facts->depth == 0)
	{
		child.matching = RECORDS_BIT | (RECORDS_BIT - 1);
		child.records = facts->records.n == 0;
	}
	else
	{
		const Frame *parent = &facts->frames[facts->depth - 1];
		char		number[24];

		if (key == NULL)
		{
			if (parent->records)
			{
				facts->result->records++;
				child.in_record = facts->max.n > 0 ? 0 : -1;
			}
			if (parent->matching == 0)
				return child;
			snprintf(number, sizeof(number), INT64_FORMAT, parent->element);
			key = number;
		}
		else if (parent->in_record >= 0 && parent->in_record < facts->max.n &&
				 strcmp(facts->max.segments[parent->in_record], key) == 0)
			child.in_record = parent->in_record + 1;
		child.matching = matching_child(facts, parent, key);
		child.records = child.matching & RECORDS_BIT && facts->records.n == facts->depth;
	}
	facts->result->found = facts->result->found || child.records;
	return child;
}

/*
 * note_scalar keeps the scalar just read where somebody asked for it.
 */
static void
note_scalar(Facts *facts, const Frame *place, bool quoted)
{
	int			i;

	if (place->records && (quoted || facts->scalar[0] != 'n' || facts->records.n == 0))
		facts->result->records++;
	for (i = 0; place->matching && i < facts->npaths; i++)
		if (place->matching & (UINT64CONST(1) << i) && facts->paths[i].n == facts->depth)
			facts->result->values[i] = scalar_text(facts, quoted);
	if (place->in_record == facts->max.n && facts->max.n > 0)
	{
		char	   *text = scalar_text(facts, quoted);

		if (text)
		{
			note_greatest(&facts->greatest, text, quoted);
			pfree(text);
		}
	}
}

/*
 * open_container pushes a frame for the object or array at hand.
 */
static bool
open_container(Facts *facts, Frame place, char opening)
{
	if (facts->depth == ETL_JSON_MAX_DEPTH)
		return false;
	facts->input.start++;
	place.closing = opening == '{' ? '}' : ']';
	if (place.records && opening == '{')
	{
		/* one object instead of a list is one record */
		facts->result->records++;
		place.records = false;
		place.in_record = facts->max.n > 0 ? 0 : -1;
	}
	facts->frames[facts->depth++] = place;
	return true;
}

/*
 * read_place reads a key, or takes the next element, of the innermost
 * container and computes its place.
 */
static bool
read_place(Facts *facts, Frame *place)
{
	if (facts->depth > 0 && facts->frames[facts->depth - 1].closing == '}')
	{
		if (peek(facts) != '"' || !read_scalar(facts))
			return false;
		*place = child_of(facts, facts->scalar_length < 0 ? "" : facts->scalar + 1);
		if (peek(facts) != ':')
			return false;
		facts->input.start++;
		return true;
	}
	*place = child_of(facts, NULL);
	return true;
}

/*
 * close_containers pops what ends here and passes over a comma.  False on a
 * fault; '*more' tells that another value follows.
 */
static bool
close_containers(Facts *facts, bool *more)
{
	*more = false;
	while (facts->depth > 0)
	{
		Frame	   *frame = &facts->frames[facts->depth - 1];
		char		c = peek(facts);

		if (c == frame->closing)
		{
			facts->input.start++;
			facts->depth--;
			continue;
		}
		if (c != ',')
			return false;
		facts->input.start++;
		frame->element++;
		*more = true;
		return true;
	}
	return true;
}

/*
 * walk reads one document; false when it is malformed.
 */
static bool
walk(Facts *facts)
{
	for (;;)
	{
		Frame		place;
		bool		more;
		char		c;

		if (!read_place(facts, &place))
			return false;
		c = peek(facts);
		if (c == '{' || c == '[')
		{
			if (!open_container(facts, place, c))
				return false;
			c = peek(facts);
			if (c != facts->frames[facts->depth - 1].closing)
				continue;
		}
		else if (c == '\0' || !read_scalar(facts))
			return false;
		else
			note_scalar(facts, &place, c == '"');
		if (!close_containers(facts, &more))
			return false;
		if (!more)
			return peek(facts) == '\0' && facts->input.start == facts->input.end;
	}
}

/*
 * etl_json_facts reads 'body', one document, to its end.  The result lives in
 * the current context; what was found before a fault is in it too.
 */
EtlJsonFacts *
etl_json_facts(EtlRead *body, const char *records_path, int npaths,
			   const char *const *paths, const char *max_path)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "etl json facts", ALLOCSET_DEFAULT_SIZES);
	EtlJsonFacts *result = palloc0(sizeof(EtlJsonFacts));
	Facts	   *facts;
	int			i;

	if (npaths > MAX_PATHS)
		elog(ERROR, "more than %d paths", MAX_PATHS);
	result->values = palloc0(Max(npaths, 1) * sizeof(char *));
	MemoryContextSwitchTo(context);
	facts = palloc0(sizeof(Facts));
	facts->result = result;
	facts->records = etl_json_path_parse(records_path);
	facts->max = etl_json_path_parse(max_path);
	facts->npaths = npaths;
	facts->paths = palloc(Max(npaths, 1) * sizeof(EtlJsonPath));
	for (i = 0; i < npaths; i++)
		facts->paths[i] = etl_json_path_parse(paths[i]);
	facts->frames = palloc(ETL_JSON_MAX_DEPTH * sizeof(Frame));
	etl_input_open(&facts->input, body, FACTS_WINDOW);
	etl_input_more(&facts->input);
	if (facts->input.end >= 3 && memcmp(facts->input.data, "\xef\xbb\xbf", 3) == 0)
		facts->input.start = 3;
	result->valid = walk(facts);

	MemoryContextSwitchTo(caller);
	for (i = 0; i < npaths; i++)
		if (result->values[i])
			result->values[i] = pstrdup(result->values[i]);
	if (facts->greatest.any)
		result->max_field = pstrdup(facts->greatest.numbers ? facts->greatest.number :
									facts->greatest.times	? facts->greatest.time :
															  facts->greatest.text);
	MemoryContextDelete(context);
	return result;
}
