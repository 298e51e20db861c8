/*-------------------------------------------------------------------------
 *
 * secret.c
 *    Defining secrets, and opening them for connectors.
 *
 * A plaintext exists in three places only: the call that defines it, the
 * memory of the pull that uses it (wiped with its context), and the wire.
 * No SQL function returns one, and no message holds one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "catalog/definition.h"
#include "catalog/environment.h"
#include "catalog/secret.h"
#include "common/arguments.h"
#include "common/errors.h"
#include "common/hosts.h"
#include "common/options.h"
#include "common/run_as.h"
#include "secret/seal.h"
#include "secret/secret.h"

#define MAX_SECRET_SIZE 65536

PG_FUNCTION_INFO_V1(etl_sql_define_secret);
PG_FUNCTION_INFO_V1(etl_sql_drop_secret);

typedef struct Plaintext
{
	MemoryContextCallback callback;
	int			length;
	char		text[FLEXIBLE_ARRAY_MEMBER];
} Plaintext;

/*
 * wipe overwrites a plaintext when its context goes away.
 */
static void
wipe(void *arg)
{
	Plaintext  *plain = arg;

	OPENSSL_cleanse(plain->text, plain->length);
}

/*
 * keep copies a plaintext into 'context', which will wipe it.
 */
static char *
keep(MemoryContext context, const char *text, int length)
{
	Plaintext  *plain = MemoryContextAllocZero(context, offsetof(Plaintext, text) + length + 1);

	plain->length = length;
	memcpy(plain->text, text, length);
	plain->callback.func = wipe;
	plain->callback.arg = plain;
	MemoryContextRegisterResetCallback(context, &plain->callback);
	return plain->text;
}

/*
 * check_admin raises 42501 unless the user may manage secrets.
 */
static void
check_admin(void)
{
	Oid			admin = get_role_oid("etl_admin", true);

	if (superuser() || (OidIsValid(admin) && has_privs_of_role(GetUserId(), admin)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to manage secrets"),
			 errhint("Only members of etl_admin may define and drop secrets.")));
}

/* ---- opening ---- */

/*
 * read_secret_file returns the contents of a secret's file without final
 * line ends, in 'context'.
 */
static char *
read_secret_file(MemoryContext context, const EtlSecret *secret)
{
	Oid			owner = get_role_oid(secret->owner, true);
	char	   *buffer;
	char	   *result;
	struct stat status;
	FILE	   *file;
	size_t		n;

	if (!OidIsValid(owner) || !has_privs_of_role(owner, ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not read files of the server", secret->owner),
				 errdetail("Secret \"%s\" is kept in a file and belongs to that role.", secret->name),
				 errhint("Grant pg_read_server_files to it.")));
	if (stat(secret->file, &status) < 0 || !S_ISREG(status.st_mode) ||
		status.st_size > MAX_SECRET_SIZE || (file = fopen(secret->file, "r")) == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_SECRET),
				 errmsg("the file of secret \"%s\" cannot be read", secret->name),
				 errdetail("The file is \"%s\".", secret->file),
				 errhint("It must be a regular file of at most 64 kB that the server can read.")));

	buffer = palloc(MAX_SECRET_SIZE + 1);
	n = fread(buffer, 1, MAX_SECRET_SIZE, file);
	fclose(file);
	while (n > 0 && (buffer[n - 1] == '\n' || buffer[n - 1] == '\r'))
		n--;
	result = keep(context, buffer, n);
	OPENSSL_cleanse(buffer, MAX_SECRET_SIZE);
	pfree(buffer);
	return result;
}

/*
 * check_secret_host raises ET015 unless the secret may be sent to 'host'.
 */
static void
check_secret_host(const EtlSecret *secret, const char *host)
{
	ListCell   *cell;

	if (host == NULL || secret->any_host)
		return;
	foreach(cell, secret->allowed_hosts)
		if (etl_host_match(lfirst(cell), host) != ETL_HOST_NO)
			return;
	ereport(ERROR,
			(errcode(ETL_ERR_SECRET),
			 errmsg("secret \"%s\" may not be sent to host \"%s\"", secret->name, host),
			 errhint("A member of etl_admin can add the host to allowed_hosts of the secret.")));
}

char *
etl_secret_open(MemoryContext context, const char *name, const char *host)
{
	EtlSecret  *secret = etl_secret_find(name);
	char	   *plain;
	char	   *result;
	int			length;

	if (secret == NULL)
	{
		const char *nearest = etl_nearest(name, etl_secret_names());

		ereport(ERROR,
				(errcode(ETL_ERR_SECRET), errmsg("there is no secret \"%s\"", name),
				 nearest ? errhint("Perhaps you meant \"%s\".", nearest) :
						   errhint("A member of etl_admin can define it with etl.define_secret.")));
	}
	check_secret_host(secret, host);

	if (secret->file != NULL)
		return read_secret_file(context, secret);
	if (secret->env != NULL)
	{
		const char *value = getenv(secret->env);

		if (value == NULL)
			ereport(ERROR,
					(errcode(ETL_ERR_SECRET),
					 errmsg("secret \"%s\" is not in the environment of the server", name),
					 errdetail("The variable is \"%s\".", secret->env),
					 errhint("Set it where the server is started, and restart it.")));
		return keep(context, value, strlen(value));
	}

	plain = etl_unseal(name, secret->sealed, secret->sealed_length, &length);
	if (plain == NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_SECRET),
				 errmsg("secret \"%s\" cannot be opened", name),
				 errdetail("It was sealed with another key, or under another name."),
				 errhint("Restore the key file it was sealed with, or define the secret again.")));
	result = keep(context, plain, length);
	OPENSSL_cleanse(plain, length);
	pfree(plain);
	return result;
}

/* ---- defining ---- */

/*
 * statements_are_logged tells whether the text of a successful SELECT goes to
 * the server log.
 */
static bool
statements_are_logged(void)
{
	return log_statement == LOGSTMT_ALL || log_min_duration_statement >= 0 ||
		   log_min_duration_sample >= 0 || log_xact_sample_rate > 0;
}

/*
 * refuse_logged_value raises ET015 when the value went, or will go, to the
 * server log with the statement or its parameters.
 */
static void
refuse_logged_value(const char *statement, const char *value)
{
	char	   *quoted = quote_literal_cstr(value);
	bool		in_text = strstr(statement, value) != NULL || strstr(statement, quoted) != NULL;
	bool		in_parameter = !in_text && strchr(statement, '$') != NULL &&
						log_parameter_max_length != 0;

	OPENSSL_cleanse(quoted, strlen(quoted));
	pfree(quoted);
	if (value[0] == '\0' || !statements_are_logged() || !(in_text || in_parameter))
		return;
	ereport(
		ERROR,
		(errcode(ETL_ERR_SECRET),
		 errmsg("the value of a secret would be written to the server log"),
		 errdetail("Statements are logged (log_statement, log_min_duration_statement, "
				   "log_min_duration_sample or log_transaction_sample_rate)."),
		 in_text ?
			 errhint("Pass the value as a bind parameter with log_parameter_max_length = 0, "
					 "or define the secret by file or env; consider this value known to readers of "
					 "the log.") :
			 errhint("Set log_parameter_max_length = 0, or define the secret by file or env.")));
}

/*
 * hide_statement keeps the statement that brought a value out of
 * pg_stat_activity and out of messages; returns what it was.
 */
static const char *
hide_statement(void)
{
	const char *statement = debug_query_string ? debug_query_string : "";

	debug_query_string = "<define_secret>";
	pgstat_report_activity(STATE_RUNNING, "<define_secret>");
	return statement;
}

/*
 * check_definition raises ET001 for arguments that do not make a secret.
 */
static void
check_definition(const EtlSecret *secret, const char *value)
{
	int			given = (value != NULL) + (secret->file != NULL) + (secret->env != NULL);

	if (secret->name == NULL || secret->name[0] == '\0')
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION), errmsg("a secret needs a name")));
	if (given != 1)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("a secret needs exactly one of value, file and env"),
				 errdetail("%d of them were given.", given)));
	if (value != NULL && strlen(value) > MAX_SECRET_SIZE)
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("the value of a secret can have at most %d bytes", MAX_SECRET_SIZE)));
	if (secret->file != NULL && !is_absolute_path(secret->file))
		ereport(ERROR,
				(errcode(ETL_ERR_DEFINITION),
				 errmsg("the file of a secret must be an absolute path")));
	if (secret->file != NULL && !has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to keep a secret in a file of the server"),
				 errhint("Only members of pg_read_server_files may do so.")));
}

/*
 * is_unchanged tells whether 'old' already says what the new definition says.
 */
static bool
is_unchanged(const EtlSecret *old, const EtlSecret *new, const char *value)
{
	bool		same;

	if (old->any_host != new->any_host || !equal(old->description ? makeString(old->description) : NULL,
												 new->description ? makeString(new->description) : NULL))
		return false;
	if (list_length(old->allowed_hosts) != list_length(new->allowed_hosts))
		return false;
	for (int i = 0; i < list_length(old->allowed_hosts); i++)
		if (strcmp(list_nth(old->allowed_hosts, i), list_nth(new->allowed_hosts, i)) != 0)
			return false;
	if (new->file != NULL)
		same = old->file != NULL && strcmp(old->file, new->file) == 0;
	else if (new->env != NULL)
		same = old->env != NULL && strcmp(old->env, new->env) == 0;
	else
	{
		int			length;
		char	   *plain = old->sealed == NULL ? NULL :
											etl_unseal(old->name, old->sealed, old->sealed_length, &length);

		same = plain != NULL && length == strlen(value) && CRYPTO_memcmp(plain, value, length) == 0;
		if (plain != NULL)
			OPENSSL_cleanse(plain, length);
	}
	return same;
}

/*
 * define stores the secret and returns what that did.
 */
static const char *
define(EtlSecret *secret, char *value)
{
	EtlSecret  *old;

	check_definition(secret, value);
	old = etl_secret_find(secret->name);
	if (old != NULL)
	{
		etl_check_owner(old->owner, "secret", secret->name);
		secret->owner = old->owner;
		if (is_unchanged(old, secret, value))
			return "unchanged";
	}
	if (value != NULL)
		secret->sealed = etl_seal(secret->name, value, strlen(value), &secret->sealed_length);
	return etl_secret_store(secret);
}

/*
 * etl_sql_define_secret seals a value, or records the file or environment
 * variable that holds it.
 */
Datum
etl_sql_define_secret(PG_FUNCTION_ARGS)
{
	const char *statement = hide_statement();
	ErrorContextCallback *saved_context = error_context_stack;
	EtlSecret	secret = {0};
	char	   *value;
	const char *result;

	/* a caller in PL/pgSQL would add the text of its statement to an error */
	error_context_stack = NULL;
	if (!PG_ARGISNULL(0) && etl_environment_skips("secret", etl_arg_text(fcinfo, 0)))
	{
		error_context_stack = saved_context;
		PG_RETURN_TEXT_P(cstring_to_text("unchanged"));
	}
	check_admin();
	value = etl_arg_text(fcinfo, 1);
	if (value != NULL)
		refuse_logged_value(statement, value);

	secret.name = etl_arg_text(fcinfo, 0);
	secret.file = etl_arg_text(fcinfo, 2);
	secret.env = etl_arg_nonempty(fcinfo, 3, "env");
	secret.any_host = PG_ARGISNULL(4);
	secret.allowed_hosts = etl_arg_texts(fcinfo, 4, "allowed_hosts");
	secret.description = etl_arg_text(fcinfo, 5);
	secret.owner = GetUserNameFromId(GetUserId(), false);

	result = define(&secret, value);
	if (value != NULL)
		OPENSSL_cleanse(value, strlen(value));
	error_context_stack = saved_context;
	PG_RETURN_TEXT_P(cstring_to_text(result));
}

/*
 * etl_sql_drop_secret forgets a secret.
 */
Datum
etl_sql_drop_secret(PG_FUNCTION_ARGS)
{
	char	   *name = etl_arg_required(fcinfo, 0, "name");
	bool		cascade = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	EtlSecret  *secret;
	List	   *users;

	check_admin();
	secret = etl_secret_find(name);
	if (secret == NULL)
		PG_RETURN_BOOL(false);
	etl_check_owner(secret->owner, "secret", name);
	users = etl_secret_users(name);
	if (users != NIL && !cascade)
		ereport(ERROR, (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
						errmsg("cannot drop secret \"%s\" because %s uses it", name,
							   (char *) linitial(users)),
						errdetail_plural("%d definition uses it.", "%d definitions use it.",
										 list_length(users), list_length(users)),
						errhint("Change them first, or pass cascade => true: they then fail until "
								"it is defined again.")));
	PG_RETURN_BOOL(etl_definition_delete("secret", name, NULL));
}
