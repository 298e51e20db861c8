/*-------------------------------------------------------------------------
 *
 * mail.c
 *    An alert as a mail.
 *
 * What goes into the header is one line whatever it was made of, and words
 * that are not ASCII are encoded (RFC 2047); the body is base64, so that no
 * line of it can end the mail or grow too long.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/base64.h"
#include "mb/pg_wchar.h"
#include "pgtime.h"
#include "utils/timestamp.h"

#include "alert/internal.h"
#include "common/compat.h"
#include "common/json.h"

#define LINE_LENGTH 76
#define WORD_BYTES	42			/* of text in an encoded word, which may have 75 characters */

/*
 * encode returns bytes as base64.
 */
static char *
encode(const char *bytes, int length)
{
	int			size = pg_b64_enc_len(length);
	char	   *text = palloc(size + 1);

	text[etl_b64_encode(bytes, length, text, size)] = '\0';
	return text;
}

/*
 * header_words renders a text for a header field, folded.
 */
static char *
header_words(const char *text)
{
	char	   *line = etl_message_line(text);
	char	   *utf8 = pg_server_to_any(line, strlen(line), PG_UTF8);
	StringInfoData out;
	bool		plain = strlen(utf8) < 200;

	for (const char *p = utf8; *p; p++)
		plain = plain && !IS_HIGHBIT_SET(*p);
	/* "=?" would begin an encoded word */
	if (plain && strstr(utf8, "=?") == NULL)
		return utf8;
	initStringInfo(&out);
	while (*utf8)
	{
		int			n = 0;

		while (utf8[n] && n + pg_utf_mblen((unsigned char *) utf8 + n) <= WORD_BYTES)
			n += pg_utf_mblen((unsigned char *) utf8 + n);
		appendStringInfo(&out, "%s=?UTF-8?B?%s?=", out.len > 0 ? "\r\n " : "", encode(utf8, n));
		utf8 += n;
	}
	return out.data;
}

/*
 * date_now renders the present moment as RFC 5322 wants it.
 */
static char *
date_now(void)
{
	pg_time_t	now = timestamptz_to_time_t(GetCurrentTimestamp());
	char		text[64];

	pg_strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S +0000", pg_gmtime(&now));
	return pstrdup(text);
}

/*
 * append_body appends a text as lines of base64.
 */
static void
append_body(StringInfo mail, const char *text)
{
	char	   *utf8 = pg_server_to_any(text, strlen(text), PG_UTF8);
	char	   *code = encode(utf8, strlen(utf8));

	for (size_t length = strlen(code); length > 0;)
	{
		size_t		n = Min(length, LINE_LENGTH);

		appendBinaryStringInfo(mail, code, n);
		appendStringInfoString(mail, "\r\n");
		code += n;
		length -= n;
	}
}

/*
 * etl_mail_make: see internal.h.
 */
HttpMail *
etl_mail_make(const Jsonb *options, const EtlDelivery *delivery)
{
	HttpMail   *mail = palloc0(sizeof(HttpMail));
	char	   *prefix = etl_json_get_text(options, "subject_prefix");
	char	   *tls = etl_json_get_text(options, "tls");
	char	   *subject = etl_message_clip(etl_message_subject(delivery->body), 300);
	StringInfoData text;
	ListCell   *cell;

	mail->from = etl_json_get_text(options, "from");
	mail->to = etl_json_get_list(options, "to");
	mail->user = etl_json_get_text(options, "user");
	mail->password = etl_json_get_text(options, "password");
	mail->clear = tls != NULL && strcmp(tls, "none") == 0;

	initStringInfo(&text);
	appendStringInfo(&text, "Date: %s\r\nFrom: %s\r\nTo: ", date_now(), mail->from);
	foreach(cell, mail->to)
		appendStringInfo(&text, "%s%s", foreach_current_index(cell) > 0 ? ",\r\n " : "",
						 (char *) lfirst(cell));
	appendStringInfo(&text, "\r\nSubject: %s\r\n",
					 header_words(psprintf("%s %s", prefix ? prefix : "[etl]", subject)));
	appendStringInfo(&text, "Message-ID: <%s@etl>\r\nX-Etl-Alert: " INT64_FORMAT "\r\n",
					 delivery->idempotency_key, delivery->alert_id);
	appendStringInfoString(&text, "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
								  "Content-Type: text/plain; charset=UTF-8\r\n"
								  "Content-Transfer-Encoding: base64\r\n\r\n");
	append_body(&text, etl_message_text(delivery->body));
	mail->text = text.data;
	return mail;
}
