/*-------------------------------------------------------------------------
 *
 * fuzz.c
 *    The decoders on the corpus, and on mutations of it.
 *
 *	 fuzz show FORMAT FILE [OPTIONS]	prints the records of a file
 *	 fuzz run LENGTH SEED FORMAT:FILE[:OPTIONS] ...	mutates the files
 *
 * LENGTH is a number of seconds, or of inputs when an x follows (20000x): with
 * the same corpus and seed these are the same inputs everywhere.
 * OPTIONS is a file of key=value lines; max_record_size is one of them.
 * What must hold for each of them is in promises.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "promises.h"

static char *
read_file(const char *path, size_t *length)
{
	FILE	   *file = fopen(path, "rb");
	char	   *bytes = calloc(1, FUZZ_MAX_INPUT + 1);

	if (file == NULL)
	{
		perror(path);
		exit(2);
	}
	*length = fread(bytes, 1, FUZZ_MAX_INPUT, file);
	fclose(file);
	return bytes;
}

/*
 * mutate makes a new input of an old one.
 */
static void
mutate(const FuzzCase *from, FuzzCase *to)
{
	static const char *const tokens[] = {
		"\"", "\"\"", ",", "\n", "\r\n", "\r", "{", "}", "[", "]", ":", "\\", "\\u0000", "\\ud83d",
		"null", "true", "-", "1e5", "\xef\xbb\xbf", "\xff", "\"a\":1", "{}", "[]", ",\"", "\",\"", "\t"};
	int			changes = 1 + fuzz_any(6);

	to->format = from->format;
	to->name = from->name;
	to->options = from->options;
	to->length = from->length;
	memcpy(to->bytes, from->bytes, from->length);
	while (changes-- > 0)
	{
		size_t		at = fuzz_any(to->length + 1);
		size_t		n;
		const char *token;

		switch (fuzz_any(6))
		{
			case 0:				/* another byte */
				if (at < to->length)
					to->bytes[at] = fuzz_any(256);
				break;
			case 1:				/* cut a stretch out */
				n = fuzz_any(20);
				n = Min(n, to->length - at);
				memmove(to->bytes + at, to->bytes + at + n, to->length - at - n);
				to->length -= n;
				break;
			case 2:				/* cut the end off */
				if (fuzz_any(4) == 0)
					to->length = at;
				break;
			case 3:				/* repeat a stretch, sometimes a long one */
				n = fuzz_any(8) ? fuzz_any(40) : fuzz_any(4000);
				n = Min(n, to->length - at);
				if (to->length + n > FUZZ_MAX_INPUT)
					break;
				memmove(to->bytes + at + n, to->bytes + at, to->length - at);
				to->length += n;
				break;
			default:			/* something that means something */
				token = tokens[fuzz_any(lengthof(tokens))];
				n = strlen(token);
				if (to->length + n > FUZZ_MAX_INPUT)
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
	static FuzzCase *cases;
	static FuzzCase mutant;
	int			ncases = 0;
	int64		inputs = 0;
	int64		most = PG_INT64_MAX;
	time_t		stop = 0;
	int			i;

	if (argc >= 4 && strcmp(argv[1], "show") == 0)
	{
		static FuzzCase test;
		static FuzzOutput output;
		size_t		ignored;

		test.format = argv[2];
		test.name = argv[3];
		test.bytes = read_file(argv[3], &test.length);
		test.options = argc > 4 ? read_file(argv[4], &ignored) : NULL;
		fuzz_decode(&test, 0, &output);
		fwrite(output.text, 1, output.length, stdout);
		return 0;
	}
	if (argc < 5 || strcmp(argv[1], "run") != 0)
	{
		fprintf(stderr, "usage: see the head of fuzz.c\n");
		return 2;
	}
	fuzz_random = strtoull(argv[3], NULL, 10) * 2654435761u + 88172645463325252u;
	cases = calloc(argc, sizeof(FuzzCase));
	mutant.bytes = malloc(FUZZ_MAX_INPUT + 1);
	for (i = 4; i < argc; i++)
	{
		FuzzCase   *test = &cases[ncases++];
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
		fuzz_check(test);
	}
	if (strchr(argv[2], 'x'))
		most = atoll(argv[2]);
	else
		stop = time(NULL) + atoi(argv[2]);
	while (inputs < most && (stop == 0 || time(NULL) < stop))
	{
		mutate(&cases[fuzz_any(ncases)], &mutant);
		fuzz_check(&mutant);
		inputs++;
	}
	printf("%ld inputs, no fault\n", (long) inputs);
	return 0;
}
