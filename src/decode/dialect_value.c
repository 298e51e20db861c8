/*-------------------------------------------------------------------------
 *
 * dialect_value.c
 *    What one value looks like, when a dialect is to be found.
 *
 * Rough on purpose: it tells a plausible cell from a torn one, and decides
 * nothing about the type that its column gets.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decode/dialect.h"

/*
 * trim takes blanks from both ends.
 */
static void
trim(const char **text, int *length)
{
	while (*length > 0 && ((*text)[0] == ' ' || (*text)[0] == '\t'))
		(*text)++, (*length)--;
	while (*length > 0 && ((*text)[*length - 1] == ' ' || (*text)[*length - 1] == '\t'))
		(*length)--;
}

/*
 * is_bool knows the words for true and false that files use.
 */
static bool
is_bool(const char *text, int length)
{
	static const char *const words[] = {"true", "false", "yes", "no", "ja", "nein", "oui", "non"};

	for (int i = 0; i < lengthof(words); i++)
		if (strlen(words[i]) == length && pg_strncasecmp(words[i], text, length) == 0)
			return true;
	return false;
}

/*
 * is_number accepts digits with signs, marks, an exponent, a percent sign.
 */
static bool
is_number(const char *text, int length)
{
	int			digits = 0;
	int			i = 0;

	if (i < length && (text[i] == '-' || text[i] == '+'))
		i++;
	for (; i < length; i++)
	{
		char		c = text[i];

		if (c >= '0' && c <= '9')
			digits++;
		else if ((c == 'e' || c == 'E') && digits > 0 && i + 1 < length)
		{
			i++;
			if ((text[i] == '-' || text[i] == '+') && i + 1 < length)
				i++;
			for (; i < length; i++)
				if (text[i] < '0' || text[i] > '9')
					return false;
			return true;
		}
		else if (c == '%' && i + 1 == length)
			return digits > 0;
		else if (c != '.' && c != ',')
			return false;
		else if (i + 1 < length && (text[i + 1] == '.' || text[i + 1] == ','))
			return false;
	}
	return digits > 0;
}

/*
 * is_time accepts groups of digits joined by the marks of dates and times.
 */
static bool
is_time(const char *text, int length)
{
	int			groups = 0;
	int			marks = 0;
	bool		within = false;

	for (int i = 0; i < length; i++)
	{
		char		c = text[i];

		if (c >= '0' && c <= '9')
		{
			groups += within ? 0 : 1;
			within = true;
			continue;
		}
		within = false;
		if (c == '-' || c == '/' || c == ':')
			marks++;
		else if (c == '.')
			marks += groups < 3 ? 1 : 0;
		else if (!((c == 'T' || c == ' ') && groups == 3) && !(c == 'Z' && i + 1 == length) && c != '+')
			return false;
	}
	return groups >= 2 && groups <= 9 && marks >= groups - 2 && marks >= 1 && text[0] >= '0' &&
		   text[0] <= '9' && (groups >= 3 || memchr(text, ':', length) != NULL);
}

/*
 * is_code accepts uuids and addresses of mail and web.
 */
static bool
is_code(const char *text, int length)
{
	const char *at = memchr(text, '@', length);

	if (length == 36 && text[8] == '-' && text[13] == '-' && text[18] == '-' && text[23] == '-')
	{
		for (int i = 0; i < length; i++)
			if (text[i] != '-' && !isxdigit((unsigned char) text[i]))
				return false;
		return true;
	}
	for (int i = 0; i < length; i++)
		if ((unsigned char) text[i] <= ' ' || strchr(",;|\"", text[i]) != NULL)
			return false;
	if (at != NULL && at > text)
		return memchr(at, '.', text + length - at) != NULL;
	return (length > 8 && memcmp(text, "https://", 8) == 0) ||
		   (length > 7 && memcmp(text, "http://", 7) == 0);
}

/*
 * is_words accepts text that no delimiter stands in.
 */
static bool
is_words(const char *text, int length)
{
	bool		letter = false;

	for (int i = 0; i < length; i++)
	{
		unsigned char c = text[i];

		if (c < ' ' || strchr(",;|\"^~:", c) != NULL)
			return false;
		letter = letter || c >= 0x80 || isalpha(c);
	}
	return letter;
}

/*
 * etl_dialect_type tells what a value looks like.
 */
DialectType
etl_dialect_type(const char *text, int length)
{
	trim(&text, &length);
	if (length == 0)
		return DIALECT_EMPTY;
	if (is_number(text, length))
		return DIALECT_NUMBER;
	if (is_time(text, length))
		return DIALECT_TIME;
	if (is_bool(text, length))
		return DIALECT_BOOL;
	if (is_code(text, length))
		return DIALECT_CODE;
	return is_words(text, length) ? DIALECT_WORDS : DIALECT_OTHER;
}

/*
 * etl_dialect_marks tells which marks a number is written with.  '*grouped':
 * it has both, so that one of them surely stands between groups.
 */
DialectMarks
etl_dialect_marks(const char *text, int length, bool *grouped)
{
	int			points = 0;
	int			commas = 0;
	int			behind = 0;		/* digits behind the last mark */
	int			before = 0;		/* digits before the first */
	char		last = '\0';

	*grouped = false;
	trim(&text, &length);
	if (!is_number(text, length) || memchr(text, 'e', length) || memchr(text, 'E', length))
		return MARKS_NONE;
	for (int i = 0; i < length; i++)
	{
		if (text[i] == '.' || text[i] == ',')
		{
			points += text[i] == '.';
			commas += text[i] == ',';
			last = text[i];
			behind = 0;
		}
		else if (text[i] >= '0' && text[i] <= '9')
		{
			behind++;
			before += last == '\0';
		}
	}
	if (points > 0 && commas > 0)
	{
		*grouped = true;
		return last == '.' && points == 1 ? MARKS_POINT :
			   last == ',' && commas == 1 ? MARKS_COMMA :
											MARKS_NONE;
	}
	/* several of a kind stand between groups: the other is the decimal mark */
	if (points > 1 || commas > 1)
	{
		*grouped = true;
		return behind != 3 ? MARKS_NONE : points > 1 ? MARKS_COMMA :
													   MARKS_POINT;
	}
	if (last == '\0')
		return MARKS_NONE;
	if (behind == 3 && before >= 1 && before <= 3 && !(before == 1 && text[length - 5] == '0'))
		return last == '.' ? MARKS_EITHER_POINT : MARKS_EITHER_COMMA;
	return last == '.' ? MARKS_POINT : MARKS_COMMA;
}
