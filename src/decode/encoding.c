/*-------------------------------------------------------------------------
 *
 * encoding.c
 *    Bytes of a file to text of the server encoding, without an error.
 *
 * Most records are ASCII and cost one vector pass.  The others are verified
 * in the encoding of the input and, where it is another than the server's,
 * converted value by value; what cannot be converted makes a bad record.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "common/errors.h"
#include "common/json.h"
#include "decode/decoder.h"

/*
 * read_policy reads the option "invalid_bytes".
 */
static EtlInvalidBytes
read_policy(const Jsonb *options)
{
	const char *word = etl_json_get_text(options, "invalid_bytes");

	if (word != NULL && strcmp(word, "replace") == 0)
		return ETL_INVALID_REPLACE;
	return word != NULL && strcmp(word, "strip") == 0 ? ETL_INVALID_STRIP : ETL_INVALID_QUARANTINE;
}

/*
 * etl_encoding_open: see decoder.h.
 */
void
etl_encoding_open(EtlDecoder *decoder, const Jsonb *options, const unsigned char *marks)
{
	const char *name = etl_json_get_text(options, "encoding");
	int			server = GetDatabaseEncoding();

	decoder->invalid_bytes = read_policy(options);
	decoder->transcodes = etl_encoding_transcodes(name, marks == NULL, marks);
	decoder->encoding = PG_UTF8;
	if (name != NULL && !etl_encoding_is_utf16(name))
		decoder->encoding = pg_char_to_encoding(name);
	if (decoder->encoding < 0)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("unknown encoding \"%s\"", name),
				 errhint("Use a name that PostgreSQL knows, such as UTF8, LATIN1 or WIN1252, or UTF16.")));
	if (decoder->transcodes || (marks == NULL && decoder->encoding == PG_SQL_ASCII))
	{
		if (decoder->encoding != PG_UTF8 && decoder->encoding != PG_SQL_ASCII &&
			!OidIsValid(FindDefaultConversionProc(decoder->encoding, PG_UTF8)))
			ereport(ERROR,
					(errcode(ETL_ERR_DEFINITION),
					 errmsg("there is no conversion from encoding \"%s\" to \"UTF8\"", name),
					 errhint("Convert the file to UTF-8 first.")));
		decoder->encoding = PG_UTF8;
	}
	decoder->conversion = InvalidOid;
	if (decoder->encoding == server || decoder->encoding == PG_SQL_ASCII || server == PG_SQL_ASCII)
		return;
	decoder->conversion = FindDefaultConversionProc(decoder->encoding, server);
	if (!OidIsValid(decoder->conversion))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("there is no conversion from encoding \"%s\" to \"%s\"",
						pg_encoding_to_char(decoder->encoding), pg_encoding_to_char(server)),
				 errhint("Convert the file, or use a database whose encoding is UTF8.")));
}

/*
 * etl_encoding_is_ascii tells whether all bytes are ASCII other than NUL.
 * Up to ETL_PADDING bytes behind 'bytes' are readable.
 */
bool
etl_encoding_is_ascii(const char *bytes, size_t length)
{
	size_t		i = 0;

#ifdef __SSE2__
	__m128i		low = _mm_set1_epi8(0);

	/* a signed byte > 0 is exactly what we want */
	for (; i + 16 <= length; i += 16)
	{
		__m128i		chunk = _mm_loadu_si128((const __m128i *) (bytes + i));

		if (_mm_movemask_epi8(_mm_cmpgt_epi8(chunk, low)) != 0xffff)
			return false;
	}
#endif
	for (; i < length; i++)
		if ((signed char) bytes[i] <= 0)
			return false;
	return true;
}

/*
 * etl_encoding_fault returns the first place that is not valid text in
 * 'encoding' (a NUL is none), or NULL.
 */
const char *
etl_encoding_fault(int encoding, const char *bytes, size_t length)
{
	int			valid;

	if (encoding == PG_SQL_ASCII)
		return memchr(bytes, '\0', length);
	valid = pg_encoding_verifymbstr(encoding, bytes, (int) length);
	return valid == (int) length ? NULL : bytes + valid;
}

/*
 * etl_encoding_convert brings the values to the server encoding.  False when
 * one cannot be; '*bad' is then its number.
 */
bool
etl_encoding_convert(EtlDecoder *decoder, int nvalues, int *bad)
{
	int			server = GetDatabaseEncoding();
	size_t		need = 1;
	char	   *out;
	int			i;

	for (i = 0; i < nvalues; i++)
		need += (size_t) decoder->values[i].length * MAX_CONVERSION_GROWTH + 1;
	if (need > decoder->converted_size)
	{
		if (decoder->converted)
			pfree(decoder->converted);
		decoder->converted = NULL;
		decoder->converted = MemoryContextAllocHuge(decoder->context, need);
		decoder->converted_size = need;
	}
	out = decoder->converted;
	for (i = 0; i < nvalues; i++)
	{
		EtlValue   *value = &decoder->values[i];
		size_t		room = (size_t) value->length * MAX_CONVERSION_GROWTH + 1;
		int			done;

		if (value->kind == ETL_VALUE_NULL || etl_encoding_is_ascii(value->text, value->length))
			continue;
		done = pg_do_encoding_conversion_buf(decoder->conversion, decoder->encoding, server,
											 (unsigned char *) value->text, value->length,
											 (unsigned char *) out, room, true);
		if (done != value->length)
		{
			*bad = i;
			return false;
		}
		value->text = out;
		value->roomy = false;
		value->length = strlen(out);
		out += value->length + 1;
	}
	return true;
}

/*
 * etl_encoding_begin_repair: see decoder.h.
 */
void
etl_encoding_begin_repair(EtlDecoder *decoder)
{
	if (decoder->repaired == NULL)
		decoder->repaired = AllocSetContextCreate(decoder->context, "etl repaired text",
												  ALLOCSET_SMALL_SIZES);
	else
		MemoryContextReset(decoder->repaired);
}

/*
 * etl_encoding_repair: see decoder.h.  It takes what is text as it is and
 * passes over one byte, or one character that does not exist here, at each
 * fault.
 */
char *
etl_encoding_repair(EtlDecoder *decoder, int encoding, Oid conversion, const char *bytes, size_t length,
					size_t *repaired)
{
	int			server = OidIsValid(conversion) ? GetDatabaseEncoding() : encoding;
	const char *mark = decoder->invalid_bytes == ETL_INVALID_STRIP ? "" :
					   server == PG_UTF8						   ? "\xef\xbf\xbd" :
																	 "?";
	char	   *text = MemoryContextAllocHuge(decoder->repaired, length * MAX_CONVERSION_GROWTH +
															   ETL_PADDING + 1);
	char	   *out = text;
	size_t		at = 0;

	while (at < length)
	{
		const char *fault = etl_encoding_fault(encoding, bytes + at, length - at);
		size_t		good = fault ? (size_t) (fault - bytes) - at : length - at;

		if (OidIsValid(conversion) && good > 0)
		{
			int			done = pg_do_encoding_conversion_buf(
				conversion, encoding, server, (unsigned char *) bytes + at, good,
				(unsigned char *) out, good * MAX_CONVERSION_GROWTH + 1, true);

			out += strlen(out);
			at += done;
			if (done == (int) good && fault == NULL)
				break;
			if (done < (int) good)
				at += Max(pg_encoding_mblen(encoding, bytes + at), 1);
			else
				at++;
		}
		else
		{
			memcpy(out, bytes + at, good);
			out += good;
			at += good;
			if (fault == NULL)
				break;
			at++;
		}
		strcpy(out, mark);
		out += strlen(mark);
	}
	memset(out, 0, ETL_PADDING);
	*repaired = out - text;
	return text;
}
