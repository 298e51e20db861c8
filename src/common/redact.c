/*-------------------------------------------------------------------------
 *
 * redact.c
 *    Which names tell that their value is a secret.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/redact.h"

bool
etl_is_sensitive(const char *name, size_t length)
{
	static const char *const words[] = {
		"password", "passwd", "secret", "token", "authorization", "cookie", "apikey",
		"api_key", "api-key", "access_key", "access-key", "credential", "signature", NULL};
	/* page tokens are no secrets, and hiding them would hide where a pull stands */
	static const char *const harmless[] = {
		"token_url", "next_token", "page_token", "pagetoken", "nextpagetoken", "continuation_token", NULL};
	char	   *lower = pnstrdup(name, length);
	bool		sensitive = false;

	for (char *p = lower; *p; p++)
		*p = pg_tolower((unsigned char) *p);
	for (int i = 0; words[i] && !sensitive; i++)
		sensitive = strstr(lower, words[i]) != NULL;
	for (int i = 0; harmless[i] && sensitive; i++)
		sensitive = strcmp(lower, harmless[i]) != 0;
	pfree(lower);
	return sensitive;
}
