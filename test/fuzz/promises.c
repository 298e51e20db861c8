/*-------------------------------------------------------------------------
 *
 * promises.c
 *    What the decoders promise for any bytes, and what holds them to it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/json.h"
#include "decode/dialect.h"
#include "decode/format.h"

#include "promises.h"
#include "standin.h"

uint64		fuzz_random = 88172645463325252u;

uint32
fuzz_any(uint32 below)
{
	fuzz_random ^= fuzz_random << 13;
	fuzz_random ^= fuzz_random >> 7;
	fuzz_random ^= fuzz_random << 17;
	return below ? (fuzz_random >> 20) % below : 0;
}

size_t
fuzz_read(void *arg, char *buffer, size_t size)
{
	FuzzBytes  *bytes = arg;

	if (bytes->piece)
	{
		size_t		piece = 1 + fuzz_any(bytes->piece);

		size = Min(size, piece);
	}
	size = Min(size, bytes->left);
	memcpy(buffer, bytes->at, size);
	bytes->at += size;
	bytes->left -= size;
	return size;
}

static void
put_bytes(FuzzOutput *output, const char *text, size_t length)
{
	size_t		i;

	while (output->length + length * 4 + 1 > output->room)
	{
		output->room = output->room ? output->room * 2 : 4096;
		output->text = realloc(output->text, output->room);
	}
	for (i = 0; i < length; i++)
	{
		unsigned char c = text[i];

		if (c < 0x20 || c == 0x7f || c == '\\')
			output->length += sprintf(output->text + output->length, "\\x%02x", c);
		else
			output->text[output->length++] = c;
	}
	output->text[output->length] = '\0';
}

static void
put(FuzzOutput *output, const char *text)
{
	put_bytes(output, text, strlen(text));
}

static void
end_line(FuzzOutput *output)
{
	put(output, "");
	output->text[output->length++] = '\n';
	output->text[output->length] = '\0';
}

/*
 * print_record writes a record as one line.
 */
static void
print_record(FuzzOutput *output, EtlDecoder *decoder, EtlRecordState state, const EtlRecord *record)
{
	char		number[64];
	const char **fields;
	int			n;
	int			i;

	snprintf(number, sizeof(number), INT64_FORMAT "%s", record->position,
			 state == ETL_RECORD_OK ? "" : " REJECT ");
	put(output, number);
	if (state == ETL_RECORD_BAD)
	{
		put(output, record->problem_code);
		put(output, ": ");
		put(output, record->problem);
		put(output, " <");
		put_bytes(output, record->raw, Min(record->raw_length, 200));
		snprintf(number, sizeof(number), "> " INT64_FORMAT " %s", record->raw_size,
				 record->raw_sha256 ? "cut" : "");
		put(output, number);
		end_line(output);
		return;
	}
	fields = etl_decoder_fields(decoder, &n);
	for (i = 0; i < record->nvalues; i++)
	{
		static const char *const kinds[] = {"NULL", "", "number ", "bool ", "json "};
		const EtlValue *value = &record->values[i];

		put(output, " ");
		put(output, fields[i]);
		put(output, "=");
		put(output, kinds[value->kind]);
		if (value->kind == ETL_VALUE_NULL)
			continue;
		put(output, "<");
		put_bytes(output, value->text, value->length);
		put(output, ">");
		if (value->text[value->length] != '\0')
			abort();
	}
	for (i = 0; i < record->nlists; i++)
	{
		StringInfoData item;
		char	   *at = NULL;

		put(output, " ");
		put(output, record->lists[i].path);
		put(output, "[");
		initStringInfo(&item);
		while (etl_nested_next(&record->lists[i], &at, &item))
		{
			put(output, "<");
			put_bytes(output, item.data, item.len);
			put(output, ">");
			if (memchr(item.data, '\n', item.len) != NULL)
				abort();
		}
		put(output, "]");
	}
	end_line(output);
}

void
fuzz_broken(const char *promise, const FuzzCase *test)
{
	FILE	   *file = fopen("fuzz-failure.bin", "wb");

	if (file)
	{
		fwrite(test->bytes, 1, test->length, file);
		fclose(file);
	}
	fprintf(stderr, "%s (%s): %s; the input is in fuzz-failure.bin\n",
			test->name, test->format, promise);
	abort();
}

static int64
option_number(const FuzzCase *test, const char *key, int64 value)
{
	const char *found = test->options ? strstr(test->options, key) : NULL;

	return found ? atoll(found + strlen(key) + 1) : value;
}

/*
 * fuzz_decode runs one input through decompression and decoder.
 */
void
fuzz_decode(const FuzzCase *test, size_t piece, FuzzOutput *output)
{
	FuzzBytes	bytes = {test->bytes, test->length, piece};
	EtlRead		reader = {fuzz_read, &bytes};
	EtlDecodeOptions options = {0};
	EtlDecoder *decoder;
	EtlRecord	record;
	EtlRecordState state;
	int64		position = 0;

	output->length = 0;
	output->records = 0;
	output->failed = false;
	output->peak = 0;
	put(output, "");
	options.format = test->format;
	options.options = (const Jsonb *) test->options;
	options.origin = "input";
	options.max_record_size = option_number(test, "max_record_size", 64 * 1024);
	options.max_record_size = Max(1, Min(options.max_record_size, 64 * 1024));
	if (setjmp(standin_error) == 0)
	{
		const Jsonb *nested = (const Jsonb *) etl_json_get_text(options.options, "nested");
		EtlPacking	packing = {.max_expansion = 200};

		if (etl_format_find(test->format)->check != NULL)
			etl_format_find(test->format)->check(options.options);
		if (nested)
			etl_nested_check(nested);
		packing.compression = etl_json_get_text(options.options, "compression");
		decoder = etl_decoder_open(etl_unpack(&reader, &packing, "input"), &options);
		if (nested)
			decoder = etl_decoder_flatten(decoder, nested, true, NIL);
		if (etl_json_get_text(options.options, "lists") != NULL)
			decoder = etl_decoder_lists(decoder);
		while ((state = etl_decoder_next(decoder, &record)) != ETL_RECORD_END)
		{
			output->records++;
			if (record.position <= position)
				fuzz_broken("positions do not grow", test);
			position = record.position;
			print_record(output, decoder, state, &record);
			output->peak = Max(output->peak, standin_allocated);
		}
	}
	else
	{
		output->failed = true;
		output->before_error = output->length;
		put(output, "ERROR ");
		put(output, standin_message);
		end_line(output);
	}
	standin_reset();
}

/*
 * same_output tells whether two decodings are alike.  Of an XML document that
 * is malformed and cut off both, libxml2 tells what it meets first, which is
 * up to how far ahead it read.
 */
static bool
same_output(const FuzzCase *test, const FuzzOutput *a, const FuzzOutput *b)
{
	if (strcmp(test->format, "xml") == 0 && a->failed && b->failed)
		return a->before_error == b->before_error && memcmp(a->text, b->text, a->before_error) == 0;
	return a->length == b->length && memcmp(a->text, b->text, a->length) == 0;
}

/*
 * compare_facts holds etl_json_facts against the decoder.
 */
static void
compare_facts(const FuzzCase *test, const FuzzOutput *decoded)
{
	static const char *const paths[] = {"next", "data.items", "a.b.0"};
	FuzzBytes	bytes = {test->bytes, test->length, 64};
	EtlRead		reader = {fuzz_read, &bytes};

	if (setjmp(standin_error) == 0)
	{
		char	   *records = etl_json_get_text((const Jsonb *) test->options, "records");
		EtlJsonFacts *facts;

		facts = etl_json_facts(&reader, records, lengthof(paths), paths, "id");
		if (facts->valid && !decoded->failed && facts->records != decoded->records)
			fuzz_broken(psprintf("facts count " INT64_FORMAT " records, the decoder " INT64_FORMAT,
								 facts->records, decoded->records),
						test);
	}
	standin_reset();
}

/*
 * check_dialect asks for the dialect of the bytes.
 */
static void
check_dialect(const FuzzCase *test)
{
	if (setjmp(standin_error) == 0)
	{
		size_t		length = Min(test->length, 4096);
		char	   *sample = memcpy(palloc0(length + 1), test->bytes, length);
		EtlDialect *dialect;

		etl_format_find("csv")->check((const Jsonb *) test->options);
		dialect = etl_dialect_detect(sample, length, length == test->length,
									 (const Jsonb *) test->options);

		if (dialect != NULL && (dialect->delimiter == '\0' || dialect->columns < 1 ||
								!(dialect->confidence >= 0 && dialect->confidence <= 1)))
			fuzz_broken("the dialect that was found cannot be", test);
		for (int i = 0; dialect != NULL && i < ETL_DIALECT_ASPECTS; i++)
			if (etl_dialect_aspect_name(i) == NULL)
				fuzz_broken("an aspect has no name", test);
	}
	standin_reset();
}

/*
 * fuzz_check holds the promises for one input.
 */
void
fuzz_check(const FuzzCase *test)
{
	static FuzzOutput whole;
	static FuzzOutput pieces;

	fuzz_decode(test, 0, &whole);
	fuzz_decode(test, 64, &pieces);
	if (!same_output(test, &whole, &pieces))
		fuzz_broken("the records depend on how the bytes arrive", test);
	if (whole.peak > 8 * 1024 * 1024)
		fuzz_broken("memory is not bounded", test);
	if (strcmp(test->format, "csv") == 0)
		check_dialect(test);
	/* the facts are of a page of UTF-8, as it is */
	if (strcmp(test->format, "json") == 0 && test->length > 0 &&
		(unsigned char) test->bytes[0] < 0x7f && test->bytes[0] != 0x04 && test->bytes[0] != 0x1f &&
		test->bytes[0] != 0x28 &&
		!(test->options && (strstr(test->options, "encoding=") || strstr(test->options, "compression="))))
		compare_facts(test, &whole);
}
