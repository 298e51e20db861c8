/*-------------------------------------------------------------------------
 *
 * header.c
 *    What is wrong with a file whose first line is no header, and what to do.
 *
 * The header decides what every record of the file means, so a doubtful one
 * ends the load.  Most of these files are not broken: they are written in
 * another dialect, encoding or format than the options say, and their first
 * bytes tell which.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "common/errors.h"
#include "decode/lines.h"

/*
 * begins_like_json tells whether a name is the beginning of an object, or of
 * a list of objects or texts.
 */
static bool
begins_like_json(const char *name)
{
	const char *next = name + 1;

	if (*name != '{' && *name != '[')
		return false;
	while (*next == ' ')
		next++;
	return *next == '"' || (*name == '{' ? *next == '}' : (*next == '{' || *next == ']'));
}

/*
 * check_page raises ET007 for a page of HTML, for XML or JSON: a server that
 * fails answers with one, whatever was asked for.
 */
static void
check_page(EtlDecoder *decoder)
{
	static const char *const pages[] = {"<!doctype", "<html", "<?xml"};

	for (int i = 0; i < lengthof(pages); i++)
		if (decoder->nfields > 0 && pg_strncasecmp(decoder->fields[0], pages[i], strlen(pages[i])) == 0)
			ereport(ERROR,
					(errcode(ETL_ERR_PROTOCOL),
					 errmsg("header of \"%s\" begins with \"%s\"", decoder->origin, pages[i]),
					 errdetail("It is XML or HTML, such as a page that tells of an error."),
					 errhint("Look at it; XML is read with the format \"xml\".")));
	if (decoder->nfields > 0 && begins_like_json(decoder->fields[0]))
		ereport(ERROR,
				(errcode(ETL_ERR_PROTOCOL),
				 errmsg("header of \"%s\" begins like JSON", decoder->origin),
				 errdetail("It may be an answer that tells of an error."),
				 errhint("Look at it; JSON is read with the format \"ndjson\" or \"json\". Where it "
						 "is a header indeed, give the names: \"header\": [\"…\"], \"skip_lines\": 1.")));
}

/*
 * etl_header_check_names: see lines.h.
 */
void
etl_header_check_names(EtlDecoder *decoder)
{
	check_page(decoder);
	for (int i = 0; i < decoder->nfields; i++)
	{
		/* a header may have as many names as etl.max_record_size has room for */
		CHECK_FOR_INTERRUPTS();
		for (int j = 0; j < i; j++)
			if (strcmp(decoder->fields[j], decoder->fields[i]) == 0)
				ereport(ERROR,
						(errcode(ETL_ERR_PROTOCOL),
						 errmsg("header of \"%s\" has the column \"%s\" twice", decoder->origin,
								decoder->fields[i]),
						 errdetail("Fields %d and %d have the same name.", j + 1, i + 1),
						 errhint("Columns go by header name: give each its own, with the options"
								 " \"header\": [\"…\", \"…\"] and \"skip_lines\": 1.")));
	}
}

/*
 * etl_header_malformed: see lines.h.
 */
void
etl_header_malformed(EtlDecoder *decoder, const char *what, const EtlRecord *record)
{
	char		first = record->raw_length > 0 ? record->raw[0] : '\0';
	const char *hint;

	if (first == '{' || first == '[')
		hint = "It begins like JSON: set the format to \"ndjson\" or \"json\".";
	else if (first == '<')
		hint = "It begins like XML or HTML, such as a page that tells of an error: look at it.";
	else if (strcmp(record->problem_code, "too_large") == 0)
		hint = "Where its lines are that long indeed, raise etl.max_record_size; else it is no "
			   "file of lines.";
	else
		hint = "Set the options \"delimiter\" and \"quote\" to those of the file, \"skip_lines\" to the"
			   " number of lines above its header, or \"dialect\" to \"auto\".";
	ereport(ERROR,
			(errcode(ETL_ERR_PROTOCOL),
			 errmsg("%s of \"%s\" is malformed: %s", what, decoder->origin, record->problem),
			 strcmp(what, "header") == 0 ?
				 0 :
				 errdetail("Without a header it tells the number of columns."),
			 errhint("%s", hint)));
}

/*
 * etl_header_not_text: see lines.h.
 */
void
etl_header_not_text(EtlDecoder *decoder, const char *raw, size_t length)
{
	bool		nul = memchr(raw, '\0', length) != NULL;

	ereport(ERROR,
			(errcode(ETL_ERR_PROTOCOL),
			 errmsg("header of \"%s\" is not valid text in encoding \"%s\"", decoder->origin,
					pg_encoding_to_char(decoder->encoding)),
			 nul ? errdetail("It has NUL bytes: it is in UTF-16, or it is no text.") : 0,
			 errhint("Set the option \"encoding\" to the encoding of the file, such as %s.",
					 nul ? "\"UTF16LE\" or \"UTF16BE\"" : "\"WIN1252\" or \"LATIN1\"")));
}

/*
 * etl_header_check_single: see lines.h.
 */
void
etl_header_check_single(EtlDecoder *decoder)
{
	const char *name = decoder->fields[0];
	const char *found = strpbrk(name, ";\t|");
	char	   *mark;

	if (found == NULL)
		return;
	mark = *found == '\t' ? "\\t" : pnstrdup(found, 1);
	ereport(ERROR,
			(errcode(ETL_ERR_PROTOCOL),
			 errmsg("header of \"%s\" is a single field with \"%s\" in it", decoder->origin, mark),
			 errdetail("The file seems to have another delimiter than a comma."),
			 strncmp(name, "sep=", 4) == 0 ?
				 errhint("Its first line says so to Excel: set the options \"delimiter\" to \"%s\" and"
						 " \"skip_lines\" to 1.", mark) :
				 errhint("Set the option \"delimiter\" to \"%s\", or \"dialect\" to \"auto\"; where the file"
						 " has one column indeed, set \"delimiter\" to \",\".", mark)));
}
