/*-------------------------------------------------------------------------
 *
 * targets.c
 *    libFuzzer's entry: bytes into one of the targets, which FUZZ_TARGET names.
 *
 * csv, text, fixed, xml, json and decompress take options, NUL, and the bytes of an input; the
 * options are lines key=value as in test/corpus/X.options.  An input without
 * a NUL has no options; with lists=yes records name their lists, as
 * transformed ones do.  archive takes the bytes of an archive; number and
 * timestamp are in target_values.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/mman.h>
#include <unistd.h>

#include "common/json.h"
#include "common/part.h"
#include "etl_part.h"

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

/*
 * fuzz_of_format runs an input through the decoder of a format.
 */
static void
fuzz_of_format(const char *format, const uint8 *bytes, size_t size)
{
	FuzzCase	test = {.format = format};

	split_options(&test, bytes, size);
	fuzz_check(&test);
}

static void
fuzz_text(const uint8 *bytes, size_t size)
{
	fuzz_of_format("text", bytes, size);
}

static void
fuzz_fixed(const uint8 *bytes, size_t size)
{
	fuzz_of_format("fixed", bytes, size);
}

static void
fuzz_xml(const uint8 *bytes, size_t size)
{
	fuzz_of_format("xml", bytes, size);
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

/*
 * read_members reads every member of an archive, in pieces of 'piece' bytes.
 */
static Unpacked
read_members(const FuzzCase *test, size_t piece)
{
	static char buffer[64 * 1024];
	static Unpacked result;
	static int	fd = -1;
	const EtlArchivePart *part = etl_part_find("archive", "an input");
	EtlMember	member;
	void	   *archive;

	if (fd < 0)
		fd = memfd_create("archive", 0);
	if (ftruncate(fd, 0) < 0 || pwrite(fd, test->bytes, test->length, 0) != test->length ||
		lseek(fd, 0, SEEK_SET) != 0)
		abort();
	result = (Unpacked){ENDED, 0, 0};
	if (setjmp(standin_error) == 0)
	{
		archive = part->open(fd, "input");
		while (result.how == ENDED && part->next(archive, &member))
		{
			size_t		got;

			for (const char *p = member.name; *p; p++)
				result.sum = result.sum * 31 + (unsigned char) *p;
			while (result.how == ENDED && !member.encrypted &&
				   (got = part->read(archive, buffer, piece)) > 0)
			{
				for (size_t i = 0; i < got; i++)
					result.sum = result.sum * 31 + (unsigned char) buffer[i];
				result.length += got;
				if (result.length > MOST_OUTPUT || part->packed(archive) < 0)
					result.how = TOO_MUCH;
			}
		}
	}
	else
		result.how = REFUSED;
	standin_reset();
	return result;
}

/*
 * fuzz_archive reads the members of a zip or tar archive.
 */
static void
fuzz_archive(const uint8 *bytes, size_t size)
{
	FuzzCase	test = {.format = "archive", .name = "an input"};
	Unpacked	whole;
	Unpacked	pieces;

	test.bytes = (char *) bytes;
	test.length = size;
	whole = read_members(&test, 64 * 1024);
	pieces = read_members(&test, 7);
	if (whole.how == TOO_MUCH || pieces.how == TOO_MUCH)
		return;
	if (whole.how != pieces.how)
		fuzz_broken("whether it is refused depends on how much is asked for", &test);
	if (whole.how == ENDED && (whole.length != pieces.length || whole.sum != pieces.sum))
		fuzz_broken("what members hold depends on how much is asked for", &test);
}

static const struct
{
	const char *name;
	void		(*run) (const uint8 *bytes, size_t size);
} targets[] = {{"csv", fuzz_csv},
			   {"text", fuzz_text},
			   {"fixed", fuzz_fixed},
			   {"xml", fuzz_xml},
			   {"archive", fuzz_archive},
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
