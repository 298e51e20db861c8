/*-------------------------------------------------------------------------
 *
 * decrypt.c
 *    A PGP message, as the bytes that it holds.
 *
 * The clear text goes from gpg through a pipe to whoever reads, as fast as
 * they read, and nowhere else.  gpg tells at the end whether the message is
 * whole and unaltered; the end is an error until it said so, and with it the
 * load is undone.  What the library calls may not raise: what the input raises
 * is caught there and raised again behind it.
 *
 *-------------------------------------------------------------------------
 */
#include "pgp.h"

#include <locale.h>

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "common/errors.h"

#define BLOCK 65536				/* bytes that the library handles at once */

typedef struct Decryptor
{
	EtlRead		output;
	EtlRead    *input;
	char	   *origin;
	const char *passphrase;		/* NULL: none was given */
	bool		has_key;
	bool		asked;			/* for a passphrase */
	bool		refused;		/* and the one there is was wrong */
	PgpHome		home;
	Operation	operation;
	gpgme_ctx_t ctx;
	gpgme_data_t cipher;
	gpgme_data_t plain;
	char	   *buffer;			/* clear text at [start, end) */
	size_t		capacity;
	size_t		start;
	size_t		end;
	bool		filled;
	ErrorData  *error;			/* of the input */
	MemoryContext context;
	MemoryContextCallback callback;
} Decryptor;

/*
 * free_library ends gpg and returns what the library took from malloc.
 */
static void
free_library(void *arg)
{
	Decryptor  *d = arg;

	if (d->ctx != NULL)
		gpgme_release(d->ctx);
	if (d->cipher != NULL)
		gpgme_data_release(d->cipher);
	if (d->plain != NULL)
		gpgme_data_release(d->plain);
	d->ctx = NULL;
	d->cipher = d->plain = NULL;
	if (d->buffer != NULL)
		memset(d->buffer, 0, d->capacity);
}

/*
 * check raises what the library could not do at all.
 */
static void
check(const Decryptor *d, gpgme_error_t error)
{
	if (error == 0)
		return;
	if (gpgme_err_code(error) == GPG_ERR_ENOMEM)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FILE),
			 errmsg("\"%s\" is encrypted with PGP, and gpg cannot be used", d->origin),
			 errdetail("The library says: %s.", gpgme_strerror(error)),
			 errhint("Install it: apt-get install gpg gpg-agent.")));
}

/*
 * pull_cipher is the library's callback for more of the message.
 */
static ssize_t
pull_cipher(void *arg, void *buffer, size_t size)
{
	Decryptor  *d = arg;
	volatile size_t n = 0;

	PG_TRY();
	{
		n = d->input->read(d->input->arg, buffer, size);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(d->context);
		d->error = CopyErrorData();
		FlushErrorState();
		d->filled = true;
	}
	PG_END_TRY();
	if (d->error != NULL)
	{
		errno = EIO;
		return -1;
	}
	return n;
}

/*
 * push_plain is the library's callback for clear text; it takes what there is
 * room for.
 */
static ssize_t
push_plain(void *arg, const void *bytes, size_t size)
{
	Decryptor  *d = arg;
	size_t		n = Min(size, d->capacity - d->end);

	if (n == 0 && size > 0)
	{
		errno = ENOSPC;
		return -1;
	}
	memcpy(d->buffer + d->end, bytes, n);
	d->end += n;
	d->filled = true;
	return n;
}

/*
 * give_passphrase is the library's callback for the passphrase.
 */
static gpgme_error_t
give_passphrase(void *arg, const char *hint, const char *info, int was_bad, int fd)
{
	Decryptor  *d = arg;

	d->asked = true;
	d->refused = d->refused || was_bad;
	if (d->passphrase == NULL || was_bad)
		return gpgme_error(GPG_ERR_CANCELED);
	if (gpgme_io_writen(fd, d->passphrase, strlen(d->passphrase)) != 0 || gpgme_io_writen(fd, "\n", 1) != 0)
		return gpgme_error(GPG_ERR_EIO);
	return 0;
}

/*
 * recipients_of lists the keys that a message is encrypted for.
 */
static char *
recipients_of(const Decryptor *d)
{
	gpgme_decrypt_result_t result = gpgme_op_decrypt_result(d->ctx);
	StringInfoData keys;

	initStringInfo(&keys);
	for (gpgme_recipient_t to = result ? result->recipients : NULL; to != NULL; to = to->next)
		appendStringInfo(&keys, "%s%s", keys.len ? ", " : "", to->keyid ? to->keyid : "unknown");
	return keys.len ? keys.data : NULL;
}

/*
 * locked raises that no key opens the message.
 */
pg_noreturn static void
locked(const Decryptor *d, const char *why)
{
	char	   *keys = recipients_of(d);

	ereport(ERROR,
			(errcode(ETL_ERR_SECRET), errmsg("\"%s\" cannot be decrypted: %s", d->origin, why),
			 keys ? errdetail("It is encrypted for the keys %s.", keys) :
					errdetail("It is encrypted with a passphrase."),
			 errhint("Set the option decrypt: {\"key\": {\"secret\": …}, \"passphrase\": "
					 "{\"secret\": …}}.")));
}

/*
 * failed raises why an operation ended.
 */
pg_noreturn static void
failed(Decryptor *d)
{
	gpgme_decrypt_result_t result = gpgme_op_decrypt_result(d->ctx);
	gpg_err_code_t code = gpgme_err_code(d->operation.error);

	/* a cancel ends gpg, too, which is in the process group */
	CHECK_FOR_INTERRUPTS();
	if (d->error != NULL)
		etl_part_rethrow(d->error);
	if (code == GPG_ERR_ENOMEM)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (d->refused || code == GPG_ERR_BAD_PASSPHRASE ||
		(code == GPG_ERR_DECRYPT_FAILED && d->end == 0 && d->asked && recipients_of(d) == NULL))
		locked(d, "the passphrase is wrong");
	if (d->asked && d->passphrase == NULL)
		locked(d, "a passphrase is needed");
	if (code == GPG_ERR_NO_SECKEY)
		locked(d, d->has_key ? "the key is another one" : "a key is needed");
	if (code == GPG_ERR_NO_DATA)
		ereport(ERROR,
				(errcode(ETL_ERR_PROTOCOL), errmsg("\"%s\" is no PGP message", d->origin),
				 errhint("Take the option decrypt away where files are not encrypted.")));
	if (result != NULL && result->legacy_cipher_nomdc)
		ereport(ERROR,
				(errcode(ETL_ERR_PROTOCOL),
				 errmsg("\"%s\" is not protected against changes", d->origin),
				 errdetail("Its cipher is of before 2003: nobody can tell whether it is as it was sent."),
				 errhint("Have it encrypted anew, with a program of today.")));
	if (result != NULL && result->unsupported_algorithm != NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_PROTOCOL),
				 errmsg("\"%s\" is encrypted with %s, which gpg does not know", d->origin,
						result->unsupported_algorithm)));
	ereport(ERROR,
			(errcode(ETL_ERR_PROTOCOL),
			 errmsg("\"%s\" is corrupt: it ends early, or was altered", d->origin),
			 errdetail("gpg says: %s. Nothing of it was kept.", gpgme_strerror(d->operation.error)),
			 errhint("Get the file again.")));
}

/*
 * read_plain hands out clear text, and the end only when gpg found all well.
 */
static size_t
read_plain(void *arg, char *buffer, size_t size)
{
	Decryptor  *d = arg;
	size_t		n;

	if (d->start == d->end && d->operation.runs)
	{
		d->start = d->end = 0;
		d->filled = false;
		operation_work(&d->operation, &d->filled);
	}
	if (d->error != NULL || (d->start == d->end && d->operation.error != 0))
		failed(d);
	n = Min(size, d->end - d->start);
	memcpy(buffer, d->buffer + d->start, n);
	d->start += n;
	return n;
}

/*
 * make_context makes a context of the library that works in the home.
 */
static void
make_context(Decryptor *d)
{
	static bool initialized = false;

	if (!initialized)
	{
		if (gpgme_check_version("1.14.0") == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FILE), errmsg("gpgme is older than 1.14.0")));
		(void) gpgme_set_locale(NULL, LC_CTYPE, setlocale(LC_CTYPE, NULL));
		initialized = true;
	}
	check(d, gpgme_engine_check_version(GPGME_PROTOCOL_OpenPGP));
	check(d, gpgme_new(&d->ctx));
	check(d, gpgme_set_protocol(d->ctx, GPGME_PROTOCOL_OpenPGP));
	check(d, gpgme_ctx_set_engine_info(d->ctx, GPGME_PROTOCOL_OpenPGP, NULL, d->home.path));
	gpgme_set_offline(d->ctx, 1);
	check(d, gpgme_set_pinentry_mode(d->ctx, GPGME_PINENTRY_MODE_LOOPBACK));
	gpgme_set_passphrase_cb(d->ctx, give_passphrase, d);
}

/*
 * import_key gives the key to the home.
 */
static void
import_key(Decryptor *d, const char *key, size_t length)
{
	gpgme_data_t data;
	gpgme_import_result_t result;

	check(d, gpgme_data_new_from_mem(&data, key, length, 0));
	/* released with the others, whatever happens */
	d->cipher = data;
	operation_attach(&d->operation, d->ctx);
	check(d, gpgme_op_import_start(d->ctx, data));
	operation_work(&d->operation, NULL);
	result = gpgme_op_import_result(d->ctx);
	if (d->operation.error != 0 || result == NULL || result->secret_read == 0)
		ereport(ERROR,
				(errcode(ETL_ERR_SECRET),
				 errmsg("\"%s\" cannot be decrypted: the secret holds no secret key of PGP", d->origin),
				 result != NULL && result->considered > 0 ?
					 errdetail("It holds a public key.") :
					 0,
				 errhint("Export it with: gpg --armor --export-secret-keys.")));
	gpgme_data_release(data);
	d->cipher = NULL;
}

EtlRead *
decrypt_stream(EtlRead *input, const char *key, size_t key_length, const char *passphrase, const char *origin)
{
	static struct gpgme_data_cbs reads = {.read = pull_cipher};
	static struct gpgme_data_cbs writes = {.write = push_plain};
	Decryptor  *d = palloc0(sizeof(Decryptor));

	d->output.read = read_plain;
	d->output.arg = d;
	d->input = input;
	d->origin = pstrdup(origin);
	d->passphrase = passphrase;
	d->has_key = key != NULL;
	d->context = CurrentMemoryContext;
	d->capacity = 4 * BLOCK;
	d->buffer = palloc(d->capacity);
	home_begin(&d->home, origin);
	/* called before that of the home: gpg ends first */
	d->callback.func = free_library;
	d->callback.arg = d;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &d->callback);

	make_context(d);
	if (key != NULL)
		import_key(d, key, key_length);
	check(d, gpgme_data_new_from_cbs(&d->cipher, &reads, d));
	check(d, gpgme_data_new_from_cbs(&d->plain, &writes, d));
	check(d, gpgme_data_set_flag(d->cipher, "io-buffer-size", CppAsString2(BLOCK)));
	check(d, gpgme_data_set_flag(d->plain, "io-buffer-size", CppAsString2(BLOCK)));
	operation_attach(&d->operation, d->ctx);
	check(d, gpgme_op_decrypt_start(d->ctx, d->cipher, d->plain));
	return &d->output;
}
