/*-------------------------------------------------------------------------
 *
 * snake_case.c
 *    Names of fields as names of columns.
 *
 * In small letters, words joined by underscores, no longer than an identifier
 * may be; the same under every locale.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "common/names.h"

/*
 * shorten cuts an identifier to NAMEDATALEN - 1 bytes, a hash of the whole
 * in its middle so that two long names stay different.
 */
static char *
shorten(const char *name)
{
	int			length = strlen(name);
	uint32		hash = hash_bytes((const unsigned char *) name, length);
	int			keep = NAMEDATALEN - 1 - 10;	/* "_" hash "_" */
	int			head = pg_mbcliplen(name, length, keep / 2 + 1);
	int			tail = keep - head;
	const char *end = name + length - tail;

	/* do not begin the tail inside a character */
	while (*end && (pg_mblen(end) == 1) && IS_HIGHBIT_SET(*end))
		end++;
	if (GetDatabaseEncoding() == PG_UTF8)
		while ((*end & 0xC0) == 0x80)
			end++;
	return psprintf("%.*s_%08x_%s", head, name, hash, end);
}

/*
 * lower_letter gives the small letter of a Latin, Greek or Cyrillic capital
 * of two bytes in UTF-8; false when 'p' is none.  The same everywhere, which
 * a locale's is not: a column must not be called after the server's locale.
 */
static bool
lower_letter(const char *p, char lower[3])
{
	pg_wchar	letter;

	if (GetDatabaseEncoding() != PG_UTF8 || pg_utf_mblen((const unsigned char *) p) != 2 ||
		p[1] == '\0')
		return false;
	letter = utf8_to_unicode((const unsigned char *) p);
	if ((letter >= 0x00C0 && letter <= 0x00DE && letter != 0x00D7) ||
		(letter >= 0x0391 && letter <= 0x03A9) || (letter >= 0x0410 && letter <= 0x042F))
		letter += 0x20;
	else if (letter >= 0x0400 && letter <= 0x040F)
		letter += 0x50;
	else if (letter == 0x0178)
		letter = 0x00FF;
	else if (letter != 0x0130 &&
			 (((letter >= 0x0100 && letter <= 0x0136) || (letter >= 0x014A && letter <= 0x0176)) ?
				  letter % 2 == 0 :
				  ((letter >= 0x0139 && letter <= 0x0147) || (letter >= 0x0179 && letter <= 0x017D)) &&
					  letter % 2 == 1))
		letter++;
	else
		return false;
	unicode_to_utf8(letter, (unsigned char *) lower);
	lower[2] = '\0';
	return true;
}

char *
etl_snake_case(const char *name)
{
	StringInfoData out;
	const char *p;
	bool		was_lower = false;

	initStringInfo(&out);
	for (p = name; *p; p++)
	{
		unsigned char c = (unsigned char) *p;
		bool		next_lower = p[1] && islower((unsigned char) p[1]);

		if (IS_HIGHBIT_SET(c))
		{
			char		lower[3];

			if (!lower_letter(p, lower))
			{
				appendStringInfoChar(&out, c);
				was_lower = true;
				continue;
			}
			if (was_lower && out.len > 0)
				appendStringInfoChar(&out, '_');
			appendStringInfoString(&out, lower);
			was_lower = false;
			p++;
		}
		else if (isupper(c))
		{
			/* userId → user_id, HTTPStatus → http_status */
			if (was_lower || (next_lower && out.len > 0 && p > name && isalpha((unsigned char) p[-1])))
				if (out.len > 0 && out.data[out.len - 1] != '_')
					appendStringInfoChar(&out, '_');
			appendStringInfoChar(&out, tolower(c));
			was_lower = false;
		}
		else if (islower(c) || isdigit(c))
		{
			appendStringInfoChar(&out, c);
			was_lower = true;
		}
		else
		{
			/* order__id keeps both: flattened fields are called so */
			bool		both = c == '_' && p > name && p[-1] == '_' &&
						out.len > 1 && out.data[out.len - 1] == '_' && out.data[out.len - 2] != '_';

			if (out.len > 0 && (both || out.data[out.len - 1] != '_'))
				appendStringInfoChar(&out, '_');
			was_lower = false;
		}
	}
	/* trailing separators say nothing */
	while (out.len > 0 && out.data[out.len - 1] == '_')
		out.data[--out.len] = '\0';
	if (out.len == 0)
		appendStringInfoString(&out, "column");
	if (isdigit((unsigned char) out.data[0]))
		return etl_snake_case(psprintf("c_%s", out.data));
	return out.len < NAMEDATALEN ? out.data : shorten(out.data);
}
