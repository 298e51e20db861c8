/*-------------------------------------------------------------------------
 *
 * fuzz.c
 *    The decoders under random bytes, and on the corpus.
 *
 *	 fuzz show FORMAT FILE [OPTIONS]	prints the records of a file
 *	 fuzz run LENGTH SEED FORMAT:FILE[:OPTIONS] ...	mutates the files
 *
 * LENGTH is a number of seconds, or of inputs when an x follows (20000x): with
 * the same corpus and seed these are the same inputs everywhere.
 * OPTIONS is a file of key=value lines; max_record_size is one of them.
 * What must hold for any bytes, beside that no sanitizer complains:
 *	 - the records do not depend on how the bytes arrive (pieces of 1 to 64
 *	   bytes against one piece);
 *	 - positions grow; raw bytes stand in the input, in this order;
 *	 - memory stays below a bound that does not depend on the input's length;
 *	 - where etl_json_facts calls a document valid, the decoder counts the
 *	   same records, or refuses some.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "lib/stringinfo.h"

#include "decode/decode.h"

#include "standin.h"

#define MAX_INPUT (256 * 1024)

typedef struct Case
{
	const char *format;
	const char *name;
	char	   *options;
	char	   *bytes;
	size_t		length;
} Case;

typedef struct Bytes
{
	const char *at;
	size_t		left;
	size_t		piece;			/* greatest piece; 0: as much as asked for */
} Bytes;

/* What a decoding printed; malloc'ed, since contexts come and go. */
typedef struct Output
{
	char	   *text;
	size_t		length;
	size_t		room;
	int64		records;
	bool		failed;
	size_t		peak;
} Output;

static uint64 random_state;

static uint32
any(uint32 below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return below ? (random_state >> 20) % below : 0;
}

static size_t
read_bytes(void *arg, char *buffer, size_t size)
{
	Bytes	   *bytes = arg;

	if (bytes->piece)
	{
		size_t		piece = 1 + any(bytes->piece);

		size = Min(size, piece);
	}
	size = Min(size, bytes->left);
	memcpy(buffer, bytes->at, size);
	bytes->at += size;
	bytes->left -= size;
	return size;
}

static void
put_bytes(Output *output, const char *text, size_t length)
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
put(Output *output, const char *text)
{
	put_bytes(output, text, strlen(text));
}

static void
end_line(Output *output)
{
	put(output, "");
	output->text[output->length++] = '\n';
	output->text[output->length] = '\0';
}

/*
 * print_record writes a record as one line.
 */
static void
print_record(Output *output, EtlDecoder *decoder, EtlRecordState state, const EtlRecord *record)
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
	end_line(output);
}

static void
broken_promise(const char *promise, const Case *test)
{
	FILE	   *file = fopen("fuzz-failure.bin", "wb");

	if (file)
	{
		fwrite(test->bytes, 1, test->length, file);
		fclose(file);
	}
	fprintf(stderr, "%s (%s): %s; the input is in fuzz-failure.bin\n",
			test->name, test->format, promise);
	exit(1);
}

static int64
option_number(const Case *test, const char *key, int64 value)
{
	const char *found = test->options ? strstr(test->options, key) : NULL;

	return found ? atoll(found + strlen(key) + 1) : value;
}

/*
 * decode runs one input through decompression and decoder.
 */
static void
decode(const Case *test, size_t piece, Output *output)
{
	Bytes		bytes = {test->bytes, test->length, piece};
	EtlRead		reader = {read_bytes, &bytes};
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
	if (setjmp(standin_error) == 0)
	{
		decoder = etl_decoder_open(etl_decompress(&reader, "auto", "input"), &options);
		while ((state = etl_decoder_next(decoder, &record)) != ETL_RECORD_END)
		{
			output->records++;
			if (record.position <= position)
				broken_promise("positions do not grow", test);
			position = record.position;
			print_record(output, decoder, state, &record);
			output->peak = Max(output->peak, standin_allocated);
		}
	}
	else
	{
		output->failed = true;
		put(output, "ERROR ");
		put(output, standin_message);
		end_line(output);
	}
	standin_reset();
}

/*
 * compare_facts holds etl_json_facts against the decoder.
 */
static void
compare_facts(const Case *test, const Output *decoded)
{
	static const char *const paths[] = {"next", "data.items", "a.b.0"};
	Bytes		bytes = {test->bytes, test->length, 64};
	EtlRead		reader = {read_bytes, &bytes};

	if (setjmp(standin_error) == 0)
	{
		char	   *records = NULL;
		EtlJsonFacts *facts;

		if (test->options && (records = strstr(test->options, "records=")))
			records = pnstrdup(records + 8, strcspn(records + 8, "\n"));
		facts = etl_json_facts(&reader, records, lengthof(paths), paths, "id");
		if (facts->valid && !decoded->failed && facts->records != decoded->records)
			broken_promise(psprintf("facts count " INT64_FORMAT " records, the decoder " INT64_FORMAT,
									facts->records, decoded->records),
						   test);
	}
	standin_reset();
}

/*
 * check_input holds the promises for one input.
 */
static void
check_input(const Case *test)
{
	static Output whole;
	static Output pieces;

	decode(test, 0, &whole);
	decode(test, 64, &pieces);
	if (whole.length != pieces.length || memcmp(whole.text, pieces.text, whole.length) != 0)
		broken_promise("the records depend on how the bytes arrive", test);
	if (whole.peak > 8 * 1024 * 1024)
		broken_promise("memory is not bounded", test);
	if (strcmp(test->format, "json") == 0 && test->length > 0 && (unsigned char) test->bytes[0] < 0x7f &&
		test->bytes[0] != 0x1f && test->bytes[0] != 0x28)
		compare_facts(test, &whole);
}

static char *
read_file(const char *path, size_t *length)
{
	FILE	   *file = fopen(path, "rb");
	char	   *bytes = calloc(1, MAX_INPUT + 1);

	if (file == NULL)
	{
		perror(path);
		exit(2);
	}
	*length = fread(bytes, 1, MAX_INPUT, file);
	fclose(file);
	return bytes;
}

/*
 * mutate makes a new input of an old one.
 */
static void
mutate(const Case *from, Case *to)
{
	static const char *const tokens[] = {
		"\"", "\"\"", ",", "\n", "\r\n", "\r", "{", "}", "[", "]", ":", "\\", "\\u0000", "\\ud83d",
		"null", "true", "-", "1e5", "\xef\xbb\xbf", "\xff", "\"a\":1", "{}", "[]", ",\"", "\",\"", "\t"};
	int			changes = 1 + any(6);

	to->format = from->format;
	to->name = from->name;
	to->options = from->options;
	to->length = from->length;
	memcpy(to->bytes, from->bytes, from->length);
	while (changes-- > 0)
	{
		size_t		at = any(to->length + 1);
		size_t		n;
		const char *token;

		switch (any(6))
		{
			case 0:				/* another byte */
				if (at < to->length)
					to->bytes[at] = any(256);
				break;
			case 1:				/* cut a stretch out */
				n = any(20);
				n = Min(n, to->length - at);
				memmove(to->bytes + at, to->bytes + at + n, to->length - at - n);
				to->length -= n;
				break;
			case 2:				/* cut the end off */
				if (any(4) == 0)
					to->length = at;
				break;
			case 3:				/* repeat a stretch, sometimes a long one */
				n = any(8) ? any(40) : any(4000);
				n = Min(n, to->length - at);
				if (to->length + n > MAX_INPUT)
					break;
				memmove(to->bytes + at + n, to->bytes + at, to->length - at);
				to->length += n;
				break;
			default:			/* something that means something */
				token = tokens[any(lengthof(tokens))];
				n = strlen(token);
				if (to->length + n > MAX_INPUT)
					break;
				memmove(to->bytes + at + n, to->bytes + at, to->length - at);
				memcpy(to->bytes + at, token, n);
				to->length += n;
		}
	}
}

int
main(int argc, char **argv)
{
	static Case *cases;
	static Case mutant;
	int			ncases = 0;
	int64		inputs = 0;
	int64		most = PG_INT64_MAX;
	time_t		stop = 0;
	int			i;

	if (argc >= 4 && strcmp(argv[1], "show") == 0)
	{
		static Case test;
		static Output output;
		size_t		ignored;

		test.format = argv[2];
		test.name = argv[3];
		test.bytes = read_file(argv[3], &test.length);
		test.options = argc > 4 ? read_file(argv[4], &ignored) : NULL;
		decode(&test, 0, &output);
		fwrite(output.text, 1, output.length, stdout);
		return 0;
	}
	if (argc < 5 || strcmp(argv[1], "run") != 0)
	{
		fprintf(stderr, "usage: see the head of fuzz.c\n");
		return 2;
	}
	random_state = strtoull(argv[3], NULL, 10) * 2654435761u + 88172645463325252u;
	cases = calloc(argc, sizeof(Case));
	mutant.bytes = malloc(MAX_INPUT + 1);
	for (i = 4; i < argc; i++)
	{
		Case	   *test = &cases[ncases++];
		char	   *colon = strchr(argv[i], ':');
		char	   *second;
		size_t		ignored;

		*colon = '\0';
		test->format = argv[i];
		test->name = colon + 1;
		if ((second = strchr(test->name, ':')))
			*second = '\0';
		test->bytes = read_file(test->name, &test->length);
		test->options = second ? read_file(second + 1, &ignored) : NULL;
		check_input(test);
	}
	if (strchr(argv[2], 'x'))
		most = atoll(argv[2]);
	else
		stop = time(NULL) + atoi(argv[2]);
	while (inputs < most && (stop == 0 || time(NULL) < stop))
	{
		mutate(&cases[any(ncases)], &mutant);
		check_input(&mutant);
		inputs++;
	}
	printf("%ld inputs, no fault\n", (long) inputs);
	return 0;
}
