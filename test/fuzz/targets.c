/*-------------------------------------------------------------------------
 *
 * targets.c
 *    libFuzzer's entry: bytes into one of the targets, which FUZZ_TARGET names.
 *
 * csv, json and decompress take options, NUL, and the bytes of an input; the
 * options are lines key=value as in test/corpus/X.options.  An input without
 * a NUL has no options.  number and timestamp are in target_values.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/json.h"

#include "promises.h"
#include "standin.h"
#include "targets.h"

#define MOST_OUTPUT (8 * 1024 * 1024)

static const char *target;

/*
 * split_options takes the options off the front of an input.
 */
static void
split_options(FuzzCase *test, const uint8 *bytes, size_t size)
{
	static char options[1024];
	static char input[FUZZ_MAX_INPUT + 1];
	const uint8 *end = memchr(bytes, '\0', Min(size, sizeof(options) - 1));

	test->name = "an input";
	test->options = NULL;
	test->bytes = input;
	if (end != NULL)
	{
		memcpy(options, bytes, end - bytes + 1);
		test->options = options;
		size -= end + 1 - bytes;
		bytes = end + 1;
	}
	test->length = Min(size, FUZZ_MAX_INPUT);
	memcpy(input, bytes, test->length);
}

static void
fuzz_csv(const uint8 *bytes, size_t size)
{
	FuzzCase	test = {.format = "csv"};

	split_options(&test, bytes, size);
	fuzz_check(&test);
}

static void
fuzz_json(const uint8 *bytes, size_t size)
{
	FuzzCase	test = {.format = "json"};

	split_options(&test, bytes, size);
	if (test.options && strstr(test.options, "format=ndjson"))
		test.format = "ndjson";
	fuzz_check(&test);
}

/* How a packed input ended, and what it gave. */
typedef struct Unpacked
{
	enum
	{
		ENDED,
		REFUSED,
		TOO_MUCH				/* it was not read to its end */
	} how;
	size_t		length;
	uint64		sum;
} Unpacked;

/*
 * unpack reads a packed input, in one piece or in many.
 */
static Unpacked
unpack(const FuzzCase *test, size_t piece)
{
	static char buffer[64 * 1024];
	static Unpacked result;
	FuzzBytes	bytes = {test->bytes, test->length, piece};
	EtlRead		reader = {fuzz_read, &bytes};

	result = (Unpacked){ENDED, 0, 0};
	if (setjmp(standin_error) == 0)
	{
		char	   *compression = etl_json_get_text((const Jsonb *) test->options, "compression");
		EtlRead    *output = etl_decompress(&reader, compression, "input");

		while (result.how == ENDED)
		{
			size_t		got = output->read(output->arg, buffer,
									  piece ? 1 + fuzz_any(sizeof(buffer)) : sizeof(buffer));

			if (got == 0)
				break;
			for (size_t i = 0; i < got; i++)
				result.sum = result.sum * 31 + (unsigned char) buffer[i];
			result.length += got;
			if (result.length > MOST_OUTPUT)
				result.how = TOO_MUCH;
		}
	}
	else
		result.how = REFUSED;
	standin_reset();
	return result;
}

static void
fuzz_decompress(const uint8 *bytes, size_t size)
{
	FuzzCase	test = {.format = "packed"};
	Unpacked	whole;
	Unpacked	pieces;

	split_options(&test, bytes, size);
	whole = unpack(&test, 0);
	pieces = unpack(&test, 64);
	if (whole.how == TOO_MUCH || pieces.how == TOO_MUCH)
		return;
	if (whole.how != pieces.how)
		fuzz_broken("whether it is refused depends on how the bytes arrive", &test);
	if (whole.how == ENDED && (whole.length != pieces.length || whole.sum != pieces.sum))
		fuzz_broken("what is unpacked depends on how the bytes arrive", &test);
}

static const struct
{
	const char *name;
	void		(*run) (const uint8 *bytes, size_t size);
} targets[] = {{"csv", fuzz_csv},
			   {"json", fuzz_json},
			   {"number", fuzz_number},
			   {"timestamp", fuzz_timestamp},
			   {"decompress", fuzz_decompress}};

int
LLVMFuzzerTestOneInput(const uint8 *bytes, size_t size)
{
	if (target == NULL && (target = getenv("FUZZ_TARGET")) == NULL)
		target = "csv";
	for (int i = 0; i < lengthof(targets); i++)
		if (strcmp(targets[i].name, target) == 0)
			targets[i].run(bytes, size);
	return 0;
}
