/*-------------------------------------------------------------------------
 *
 * decompress.c
 *    Packed bytes, recognised by their first ones, as a stream.
 *
 * gzip, zstd and lz4 are unpacked here, bzip2 and xz by the part etl_archive.
 * Several members or frames behind each other are one stream, as gzip, zstd
 * and lz4 themselves read them.  The libraries' memory hangs on the context in
 * which the reader was made.  What grows beyond all measure is a bomb, and is
 * not unpacked to its end.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <lz4frame.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "common/compat.h"
#include "common/errors.h"
#include "common/part.h"
#include "decode/decode.h"

#define CHUNK (64 * 1024)

typedef enum Packing
{
	PLAIN,
	GZIP,
	ZSTD,
	LZ4,
	BZIP2,
	XZ
} Packing;

static const char *const packing_names[] = {"none", "gzip", "zstd", "lz4", "bzip2", "xz"};

typedef struct Decompressor
{
	EtlRead		output;			/* what callers read */
	EtlRead    *input;
	char	   *origin;
	Packing		packing;
	bool		eof;			/* the input has ended */
	bool		within;			/* inside a member or frame */
	bool		trailing;		/* behind the last member: only padding may follow */
	int64		members;
	char	   *buffer;
	size_t		start;
	size_t		end;
	z_stream	gzip;
	bool		gzip_open;
	ZSTD_DStream *zstd;
	LZ4F_dctx  *lz4;
	MemoryContextCallback callback;
} Decompressor;

/*
 * free_libraries returns what the libraries took from malloc.
 */
static void
free_libraries(void *arg)
{
	Decompressor *d = arg;

	if (d->gzip_open)
		inflateEnd(&d->gzip);
	d->gzip_open = false;
	if (d->zstd)
		ZSTD_freeDStream(d->zstd);
	d->zstd = NULL;
	if (d->lz4)
		LZ4F_freeDecompressionContext(d->lz4);
	d->lz4 = NULL;
}

pg_noreturn static void
corrupt(Decompressor *d, const char *reason)
{
	ereport(ERROR,
			(errcode(ETL_ERR_PROTOCOL),
			 errmsg("\"%s\" is corrupt: %s", d->origin, reason),
			 errdetail("It is compressed with %s.", packing_names[d->packing]),
			 errhint("Get the file again, or test it with %s -t.", packing_names[d->packing])));
}

/*
 * refill reads more input once the last is used up.
 */
static void
refill(Decompressor *d)
{
	if (d->start < d->end || d->eof)
		return;
	/* padding and empty members give nothing to who reads on */
	CHECK_FOR_INTERRUPTS();
	d->start = 0;
	d->end = d->input->read(d->input->arg, d->buffer, CHUNK);
	if (d->end == 0)
		d->eof = true;
}

/*
 * begin_member resets zlib when another member follows; zero bytes behind
 * the last are padding.
 */
static bool
begin_member(Decompressor *d)
{
	refill(d);
	while (d->members > 0 && !d->eof && d->buffer[d->start] == '\0')
	{
		d->trailing = true;
		d->start++;
		refill(d);
	}
	if (d->eof)
		return false;
	if (d->trailing || (unsigned char) d->buffer[d->start] != 0x1f)
		corrupt(d, "there is something else behind its end");
	if (inflateReset(&d->gzip) != Z_OK)
		elog(ERROR, "could not reset zlib");
	d->within = true;
	return true;
}

static size_t
read_gzip(void *arg, char *buffer, size_t size)
{
	Decompressor *d = arg;

	d->gzip.next_out = (Bytef *) buffer;
	d->gzip.avail_out = size;
	while (d->gzip.avail_out == size)
	{
		int			result;

		if (!d->within && !begin_member(d))
			return 0;
		refill(d);
		if (d->eof)
			corrupt(d, "it ends early");
		d->gzip.next_in = (Bytef *) d->buffer + d->start;
		d->gzip.avail_in = d->end - d->start;
		result = inflate(&d->gzip, Z_NO_FLUSH);
		d->start = d->end - d->gzip.avail_in;
		if (result == Z_STREAM_END)
		{
			d->within = false;
			d->members++;
		}
		else if (result == Z_MEM_ERROR)
			ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
		else if (result != Z_OK && result != Z_BUF_ERROR)
			corrupt(d, d->gzip.msg ? d->gzip.msg : "its data makes no sense");
	}
	return size - d->gzip.avail_out;
}

/*
 * zstd_failed raises what ZSTD_decompressStream returned.  For broken data the
 * library has many names, and which one comes depends on how the bytes arrive.
 */
pg_noreturn static void
zstd_failed(Decompressor *d, size_t result)
{
	switch (ZSTD_getErrorCode(result))
	{
		case ZSTD_error_memory_allocation:
			ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
			break;
		case ZSTD_error_checksum_wrong:
		case ZSTD_error_dictionary_wrong:
		case ZSTD_error_frameParameter_windowTooLarge:
			corrupt(d, ZSTD_getErrorName(result));
		default:
			corrupt(d, "its data makes no sense");
	}
}

static size_t
read_zstd(void *arg, char *buffer, size_t size)
{
	Decompressor *d = arg;
	ZSTD_outBuffer out = {buffer, size, 0};

	while (out.pos == 0)
	{
		ZSTD_inBuffer in;
		size_t		result;

		/* what the library still holds comes first, then more input */
		refill(d);
		if (d->eof && !d->within)
			return 0;
		in.src = d->buffer;
		in.size = d->eof ? 0 : d->end;
		in.pos = d->eof ? 0 : d->start;
		result = ZSTD_decompressStream(d->zstd, &out, &in);
		if (ZSTD_isError(result))
			zstd_failed(d, result);
		if (!d->eof)
			d->start = in.pos;
		else if (out.pos == 0 && result != 0)
			corrupt(d, "it ends early");
		d->within = result != 0;
	}
	return out.pos;
}

/*
 * lz4_failed raises what LZ4F_decompress returned.
 */
pg_noreturn static void
lz4_failed(Decompressor *d, size_t result)
{
	const char *name = LZ4F_getErrorName(result);

	if (strcmp(name, "ERROR_allocation_failed") == 0)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (strstr(name, "hecksum") != NULL)
		corrupt(d, "a checksum does not match");
	corrupt(d, "its data makes no sense");
}

static size_t
read_lz4(void *arg, char *buffer, size_t size)
{
	Decompressor *d = arg;

	for (;;)
	{
		size_t		produced = size;
		size_t		used;
		size_t		result;

		refill(d);
		if (d->eof && !d->within)
			return 0;
		used = d->eof ? 0 : d->end - d->start;
		result = LZ4F_decompress(d->lz4, buffer, &produced, d->buffer + d->start, &used, NULL);
		if (LZ4F_isError(result))
			lz4_failed(d, result);
		d->start += used;
		/* zero: the frame ended, and the next one begins anew */
		if (result == 0)
			d->members++;
		d->within = result != 0;
		if (produced > 0)
			return produced;
		if (d->eof)
			corrupt(d, "it ends early");
	}
}

/*
 * read_plain hands out the bytes that were looked at, then the input itself.
 */
static size_t
read_plain(void *arg, char *buffer, size_t size)
{
	Decompressor *d = arg;
	size_t		length = Min(size, d->end - d->start);

	if (length == 0)
		return d->input->read(d->input->arg, buffer, size);
	memcpy(buffer, d->buffer + d->start, length);
	d->start += length;
	return length;
}

/*
 * refuse_others raises what to do with input that no decoder can read as it
 * is.
 */
static void
refuse_others(Decompressor *d)
{
	static const char armor[] = "-----BEGIN PGP MESSAGE-----";
	size_t		length = strlen(d->origin);
	const char *ending = length > 4 ? d->origin + length - 4 : "";
	/* a packet's first bit is set; that alone says little */
	bool		encrypted = d->end > 0 && (d->buffer[0] & 0x80) != 0 &&
					 (strcmp(ending, ".pgp") == 0 || strcmp(ending, ".gpg") == 0);

	if (d->end >= 4 && memcmp(d->buffer, "PK\x03\x04", 4) == 0)
		ereport(ERROR,
				(errcode(ETL_ERR_PROTOCOL), errmsg("\"%s\" is a zip archive", d->origin),
				 errhint("Name its members in the path, behind an exclamation mark: \"file.zip!*.csv\".")));
	encrypted = encrypted ||
				(d->end >= sizeof(armor) - 1 && memcmp(d->buffer, armor, sizeof(armor) - 1) == 0);
	if (encrypted)
		ereport(ERROR,
				(errcode(ETL_ERR_PROTOCOL), errmsg("\"%s\" is encrypted with PGP", d->origin),
				 errhint("Set the option decrypt: {\"key\": {\"secret\": …}, \"passphrase\": "
						 "{\"secret\": …}}.")));
}

/*
 * recognise looks at the first bytes.
 */
static Packing
recognise(Decompressor *d)
{
	while (d->end < 32)
	{
		size_t		got = d->input->read(d->input->arg, d->buffer + d->end, CHUNK - d->end);

		if (got == 0)
			break;
		d->end += got;
	}
	if (d->end >= 2 && memcmp(d->buffer, "\x1f\x8b", 2) == 0)
		return GZIP;
	if (d->end >= 4 && memcmp(d->buffer, "\x28\xb5\x2f\xfd", 4) == 0)
		return ZSTD;
	if (d->end >= 4 && memcmp(d->buffer, "\x04\x22\x4d\x18", 4) == 0)
		return LZ4;
	if (d->end >= 10 && memcmp(d->buffer, "BZh", 3) == 0 && d->buffer[3] >= '1' && d->buffer[3] <= '9' &&
		(memcmp(d->buffer + 4, "1AY&SY", 6) == 0 || memcmp(d->buffer + 4, "\x17rE8P\x90", 6) == 0))
		return BZIP2;
	if (d->end >= 6 && memcmp(d->buffer, "\xfd"
										 "7zXZ\0", 6) == 0)
		return XZ;
	refuse_others(d);
	return PLAIN;
}

/*
 * packing_of returns the packing that an option names.
 */
static Packing
packing_of(const char *name)
{
	for (int i = 0; i < lengthof(packing_names); i++)
		if (strcmp(name, packing_names[i]) == 0)
			return (Packing) i;
	elog(ERROR, "unknown compression \"%s\"", name);
}

/*
 * etl_decompress wraps 'input'; the result lives in the current context.
 */
EtlRead *
etl_decompress(EtlRead *input, const char *compression, const char *origin)
{
	Decompressor *d = palloc0(sizeof(Decompressor));
	bool		is_auto = compression == NULL || strcmp(compression, "auto") == 0;

	d->input = input;
	d->origin = pstrdup(origin ? origin : "input");
	d->buffer = palloc(CHUNK);
	d->output.arg = d;
	d->callback.func = free_libraries;
	d->callback.arg = d;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &d->callback);

	d->packing = !is_auto && strcmp(compression, "none") == 0 ? PLAIN : recognise(d);
	if (!is_auto && strcmp(compression, "none") != 0 && d->packing != packing_of(compression))
	{
		if (d->end == 0)
			d->packing = PLAIN;
		else
			ereport(ERROR,
					(errcode(ETL_ERR_PROTOCOL),
					 errmsg("\"%s\" is not compressed with %s", d->origin, compression),
					 errhint("Set the option \"compression\" to auto.")));
	}

	if (d->packing == BZIP2 || d->packing == XZ)
	{
		const EtlArchivePart *part =
			etl_part_find("archive", psprintf("\"%s\" is compressed with %s", d->origin,
											  packing_names[d->packing]));

		d->output.read = read_plain;
		return part->unpack(&d->output, packing_names[d->packing], d->origin);
	}
	d->output.read = d->packing == GZIP ? read_gzip :
					 d->packing == ZSTD ? read_zstd :
					 d->packing == LZ4	? read_lz4 :
										  read_plain;
	if (d->packing == GZIP)
	{
		d->gzip_open = inflateInit2(&d->gzip, 15 + 16) == Z_OK;
		if (!d->gzip_open)
			elog(ERROR, "could not initialize zlib");
	}
	else if (d->packing == ZSTD)
	{
		d->zstd = ZSTD_createDStream();
		if (d->zstd == NULL)
			elog(ERROR, "could not initialize zstd");
	}
	else if (d->packing == LZ4 && LZ4F_isError(LZ4F_createDecompressionContext(&d->lz4, LZ4F_VERSION)))
		elog(ERROR, "could not initialize lz4");
	return &d->output;
}
