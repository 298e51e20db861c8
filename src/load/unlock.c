/*-------------------------------------------------------------------------
 *
 * unlock.c
 *    What an item holds, decrypted and unpacked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/errors.h"
#include "common/json.h"
#include "common/options.h"
#include "load/landing.h"
#include "secret/secret.h"

/*
 * secret_named reads {"secret": name} at a key of the option decrypt.
 */
static char *
secret_named(const Jsonb *decrypt, const char *key)
{
	Jsonb	   *value = etl_json_get(decrypt, key);
	char	   *name = NULL;

	if (!etl_json_has(decrypt, key))
		return NULL;
	if (value != NULL && etl_json_kind(value) == 'o' && list_length(etl_json_keys(value)) == 1)
		name = etl_json_get_text(value, "secret");
	if (name == NULL)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("\"%s\" of option \"decrypt\" must be a secret", key),
						errhint("Define it with etl.define_secret, and write {\"%s\": {\"secret\": "
								"\"its name\"}}.", key)));
	return name;
}

const EtlOptionDef etl_decrypt_options[] = {
	{"key", "any", NULL, "a secret key as gpg exports it with --armor: {\"secret\": name}"},
	{"passphrase", "any", NULL,
	 "{\"secret\": name}: the key's, or the message's where there is no key"},
	{NULL}};

void
etl_decrypt_read(EtlLoadOptions *options, const Jsonb *stream_options)
{
	Jsonb	   *decrypt = etl_json_get(stream_options, "decrypt");

	if (decrypt == NULL)
		return;
	etl_options_check(decrypt, "stream:decrypt", etl_decrypt_options, NULL);
	options->encrypted = true;
	options->key_secret = secret_named(decrypt, "key");
	options->passphrase_secret = secret_named(decrypt, "passphrase");
	if (options->key_secret == NULL && options->passphrase_secret == NULL)
		ereport(ERROR, (errcode(ETL_ERR_DEFINITION),
						errmsg("option \"decrypt\" needs a key or a passphrase"),
						errhint("Write {\"key\": {\"secret\": …}, \"passphrase\": {\"secret\": "
								"…}}, or one of them.")));
}

EtlRead *
etl_load_unpack(EtlRead *stored, const EtlLoadOptions *options, const char *origin)
{
	EtlPacking	packing = {
		.compression = options->compression,
		.max_expansion = options->max_expansion,
		.encrypted = options->encrypted};

	if (options->key_secret != NULL)
		packing.key = etl_secret_open(CurrentMemoryContext, options->key_secret, NULL);
	if (options->passphrase_secret != NULL)
		packing.passphrase = etl_secret_open(CurrentMemoryContext, options->passphrase_secret, NULL);
	return etl_unpack(stored, &packing, origin);
}
