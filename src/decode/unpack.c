/*-------------------------------------------------------------------------
 *
 * unpack.c
 *    Encrypted and packed bytes as a stream, as long as they grow within measure.
 *
 * A small file that unpacks to a huge one would fill the disk with rows or
 * rejects; memory is bounded either way.  Real data packed well grows some
 * ten to a hundred times.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "common/errors.h"
#include "common/part.h"
#include "decode/decode.h"
#include "etl_part.h"

#define TAR_HEAD 263			/* bytes that tell a tar archive */

typedef struct Unpacked
{
	EtlRead		output;
	EtlRead		counted;		/* the packed input, counted */
	EtlRead    *packed;
	EtlRead    *input;			/* unpacked */
	int64		bytes_packed;
	int64		bytes_unpacked;
	int			limit;
	char	   *origin;
} Unpacked;

static size_t
read_counted(void *arg, char *buffer, size_t size)
{
	Unpacked   *unpacked = arg;
	size_t		n = unpacked->packed->read(unpacked->packed->arg, buffer, size);

	unpacked->bytes_packed += n;
	return n;
}

/*
 * is_tar knows the head of a member by the mark that every tar of this century
 * writes, behind a name that zeros fill up.
 */
static bool
is_tar(const char *bytes, size_t length)
{
	return length >= TAR_HEAD && memcmp(bytes + 257, "ustar", 5) == 0 && bytes[99] == '\0';
}

static size_t
read_unpacked(void *arg, char *buffer, size_t size)
{
	Unpacked   *unpacked = arg;
	size_t		n = unpacked->input->read(unpacked->input->arg, buffer, size);

	/* whether it is one must not depend on how the bytes arrive */
	while (unpacked->bytes_unpacked == 0 && n > 0 && n < TAR_HEAD && n < size)
	{
		size_t		more = unpacked->input->read(unpacked->input->arg, buffer + n, size - n);

		if (more == 0)
			break;
		n += more;
	}
	if (unpacked->bytes_unpacked == 0 && is_tar(buffer, n))
		ereport(ERROR,
				(errcode(ETL_ERR_PROTOCOL), errmsg("\"%s\" is a tar archive", unpacked->origin),
				 errhint("Name its members in the path, behind an exclamation mark: "
						 "\"file.tar.gz!*.csv\".")));
	unpacked->bytes_unpacked += n;
	etl_expansion_check(unpacked->origin, unpacked->bytes_packed, unpacked->bytes_unpacked,
						unpacked->limit);
	return n;
}

/*
 * etl_expansion_check raises ET008 when an input grew beyond 'limit' times.
 */
void
etl_expansion_check(const char *origin, int64 packed, int64 unpacked, int limit)
{
	if (limit == 0 || unpacked < ETL_EXPANSION_FREE || unpacked / limit <= Max(packed, 1))
		return;
	ereport(ERROR,
			(errcode(ETL_ERR_TOO_LARGE),
			 errmsg("\"%s\" unpacks to more than %d times its size", origin, limit),
			 errdetail("The first %lld bytes became %lld.", (long long) packed, (long long) unpacked),
			 errhint("If that is right, raise the option \"max_expansion\" of the stream.")));
}

/*
 * etl_unpack wraps 'input'; the result lives in the current context.
 */
EtlRead *
etl_unpack(EtlRead *input, const EtlPacking *packing, const char *origin)
{
	Unpacked   *unpacked = palloc0(sizeof(Unpacked));
	EtlRead    *clear = &unpacked->counted;

	unpacked->packed = input;
	unpacked->counted.read = read_counted;
	unpacked->counted.arg = unpacked;
	unpacked->limit = packing->max_expansion;
	unpacked->origin = pstrdup(origin);
	unpacked->output.read = read_unpacked;
	unpacked->output.arg = unpacked;
	if (packing->encrypted)
	{
		const EtlPgpPart *part =
			etl_part_find("pgp", psprintf("\"%s\" is encrypted with PGP", unpacked->origin));

		clear = part->decrypt(clear, packing->key, packing->key ? strlen(packing->key) : 0,
							  packing->passphrase, unpacked->origin);
	}
	unpacked->input = etl_decompress(clear, packing->compression, origin);
	return &unpacked->output;
}

void
etl_unpacked_end(EtlRead *input)
{
	char		buffer[8192];

	while (input->read(input->arg, buffer, sizeof(buffer)) > 0)
		CHECK_FOR_INTERRUPTS();
}
