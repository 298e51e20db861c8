/*-------------------------------------------------------------------------
 *
 * input.c
 *    A window over a stream of bytes.
 *
 * The window grows only when one record needs it, so its size follows the
 * largest record met, never the file.  Behind its end there are always
 * ETL_PADDING zero bytes, so that scanners may load whole vectors.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/cryptohash.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "decode/decoder.h"

/*
 * etl_input_open begins reading with a window of 'size' bytes.
 */
void
etl_input_open(EtlInput *input, EtlRead *reader, size_t size)
{
	memset(input, 0, sizeof(EtlInput));
	input->reader = reader;
	input->capacity = size;
	input->data = palloc(size + ETL_PADDING);
	memset(input->data, 0, ETL_PADDING);
}

/*
 * etl_input_more fills the window, keeping what is not consumed at its
 * front; doubles it when it is full.  False when there is nothing more.
 */
bool
etl_input_more(EtlInput *input)
{
	size_t		kept = input->end - input->start;

	CHECK_FOR_INTERRUPTS();
	if (input->eof)
		return false;
	if (input->start > 0)
	{
		memmove(input->data, input->data + input->start, kept);
		input->before += input->start;
		input->start = 0;
		input->end = kept;
	}
	if (input->end == input->capacity)
	{
		input->capacity *= 2;
		input->data = repalloc_huge(input->data, input->capacity + ETL_PADDING);
	}
	while (input->end < input->capacity)
	{
		size_t		got = input->reader->read(input->reader->arg, input->data + input->end,
										 input->capacity - input->end);

		if (got == 0)
		{
			input->eof = true;
			break;
		}
		input->end += got;
	}
	memset(input->data + input->end, 0, ETL_PADDING);
	return input->end > kept;
}

/*
 * etl_oversize_begin starts to account for a record above the limit.
 */
void
etl_oversize_begin(EtlOversize *oversize)
{
	if (oversize->head == NULL)
		oversize->head = palloc(ETL_RAW_KEPT);
	oversize->kept = 0;
	oversize->size = 0;
	oversize->hash = pg_cryptohash_create(PG_SHA256);
	if (oversize->hash == NULL || pg_cryptohash_init(oversize->hash) < 0)
		elog(ERROR, "could not initialize SHA-256");
}

/*
 * etl_oversize_add counts bytes of the record and keeps the first of them.
 */
void
etl_oversize_add(EtlOversize *oversize, const char *bytes, size_t length)
{
	size_t		keep = Min(length, ETL_RAW_KEPT - oversize->kept);

	memcpy(oversize->head + oversize->kept, bytes, keep);
	oversize->kept += keep;
	oversize->size += length;
	if (pg_cryptohash_update(oversize->hash, (const uint8 *) bytes, length) < 0)
		elog(ERROR, "could not compute SHA-256");
}

/*
 * etl_oversize_end writes head, length and hash into the record.
 */
void
etl_oversize_end(EtlOversize *oversize, EtlRecord *record)
{
	static const char digits[] = "0123456789abcdef";
	uint8		digest[32];
	int			i;

	if (pg_cryptohash_final(oversize->hash, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute SHA-256");
	pg_cryptohash_free(oversize->hash);
	oversize->hash = NULL;
	for (i = 0; i < 32; i++)
	{
		oversize->hex[2 * i] = digits[digest[i] >> 4];
		oversize->hex[2 * i + 1] = digits[digest[i] & 15];
	}
	oversize->hex[64] = '\0';
	record->raw = oversize->head;
	record->raw_length = oversize->kept;
	record->raw_size = oversize->size;
	record->raw_sha256 = oversize->kept < oversize->size ? oversize->hex : NULL;
}
