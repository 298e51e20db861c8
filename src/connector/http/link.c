/*-------------------------------------------------------------------------
 *
 * link.c
 *    The Link header field of RFC 8288.
 *
 * A field is a list of <reference>; name=value; name="value", … separated by
 * commas, which may also stand inside the reference and the quotes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "connector/http/link.h"

/*
 * has_next tells whether a rel, a list of words, holds "next".
 */
static bool
has_next(const char *value, size_t length)
{
	while (length > 0)
	{
		size_t		word = 0;

		while (word < length && value[word] != ' ' && value[word] != '\t')
			word++;
		if (word == 4 && pg_strncasecmp(value, "next", 4) == 0)
			return true;
		if (word < length)
			word++;
		value += word;
		length -= word;
	}
	return false;
}

/*
 * read_parameter reads one parameter at *p, behind its semicolon; true when
 * it is a rel with "next".
 */
static bool
read_parameter(const char **p)
{
	const char *name;
	const char *value;
	size_t		name_length;
	size_t		length = 0;

	*p += strspn(*p, " \t");
	name = *p;
	name_length = strcspn(name, "=;, \t");
	*p += name_length;
	*p += strspn(*p, " \t");
	if (**p != '=')
		return false;
	*p += 1 + strspn(*p + 1, " \t");
	if (**p == '"')
	{
		value = ++*p;
		while (value[length] && value[length] != '"')
			length += value[length] == '\\' && value[length + 1] ? 2 : 1;
		*p += length + (value[length] == '"' ? 1 : 0);
	}
	else
	{
		value = *p;
		length = strcspn(value, ";, \t");
		*p += length;
	}
	return name_length == 3 && pg_strncasecmp(name, "rel", 3) == 0 && has_next(value, length);
}

char *
http_link_next(const char *field)
{
	const char *p = field;

	for (;;)
	{
		const char *reference;
		size_t		length;
		bool		next = false;

		p += strspn(p, " \t,");
		if (*p != '<')
			return NULL;
		reference = p + 1;
		length = strcspn(reference, ">");
		if (reference[length] == '\0')
			return NULL;
		p = reference + length + 1;
		for (;;)
		{
			p += strspn(p, " \t");
			if (*p != ';')
				break;
			p++;
			next |= read_parameter(&p);
		}
		if (next)
			return pnstrdup(reference, length);
		if (*p != ',')
			return NULL;
	}
}
