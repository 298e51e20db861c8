/*-------------------------------------------------------------------------
 *
 * seal.c
 *    Sealing and opening bytes with the key of etl.secret_key_file.
 *
 * AES-256-GCM of libcrypto.  A sealed value is: a version byte, a random
 * nonce of 12 bytes, the tag of 16 bytes, the ciphertext.  The name of the
 * secret is authenticated with it, so that a value moved to another row does
 * not open.  The key is read for each use and wiped after it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "miscadmin.h"
#include "utils/builtins.h"

#include "common/errors.h"
#include "common/guc.h"
#include "secret/seal.h"

#define SEAL_VERSION 1
#define KEY_SIZE	 32
#define NONCE_SIZE	 12
#define TAG_SIZE	 16
#define HEADER_SIZE	 (1 + NONCE_SIZE + TAG_SIZE)

/*
 * refuse_key raises ET015 about the key file.
 */
static void
refuse_key(const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ETL_ERR_SECRET),
			 errmsg("the key file of etl.secret_key_file cannot be used"),
			 errdetail("%s", detail),
			 errhint("%s", hint)));
}

/*
 * check_key_file raises unless the open file is private to the server and
 * outside the data directory.
 */
static void
check_key_file(int fd)
{
	struct stat status;
	char		key_path[PATH_MAX];
	char		data_path[PATH_MAX];
	size_t		length;

	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
		refuse_key("It is not a regular file.", "Name a file that holds the key.");
	if (status.st_mode & (S_IRWXG | S_IRWXO))
		refuse_key("Its group or others have rights on it.",
				   "Run chmod 600 on it, as the operating system user of the server.");
	if (realpath(etl_secret_key_file, key_path) == NULL || realpath(DataDir, data_path) == NULL)
		refuse_key("Its path cannot be resolved.", "Check that the path exists.");
	length = strlen(data_path);
	if (strncmp(key_path, data_path, length) == 0 && key_path[length] == '/')
		refuse_key("It lies in the data directory, so backups would hold the key beside what it protects.",
				   "Move it outside, and point etl.secret_key_file there.");
}

/*
 * decode_key makes the key from the bytes of the file: 32 bytes as they are,
 * or 64 hexadecimal digits with or without a line end.  False: neither.
 */
static bool
decode_key(const char *bytes, int n, uint8 *key)
{
	if (n == KEY_SIZE)
	{
		memcpy(key, bytes, KEY_SIZE);
		return true;
	}
	while (n > 0 && (bytes[n - 1] == '\n' || bytes[n - 1] == '\r' || bytes[n - 1] == ' '))
		n--;
	if (n != 2 * KEY_SIZE)
		return false;
	for (int i = 0; i < n; i++)
	{
		const char *digits = "0123456789abcdef";
		const char *digit = strchr(digits, pg_tolower((unsigned char) bytes[i]));

		if (digit == NULL || *digit == '\0')
			return false;
		key[i / 2] = (key[i / 2] << 4) | (digit - digits);
	}
	return true;
}

/*
 * read_key reads the key; the caller wipes it.
 */
static void
read_key(uint8 *key)
{
	char		bytes[2 * KEY_SIZE + 8];
	int			fd;
	ssize_t		n;
	bool		ok;

	if (etl_secret_key_file == NULL || etl_secret_key_file[0] == '\0')
		ereport(ERROR,
				(errcode(ETL_ERR_SECRET),
				 errmsg("no key for secrets is configured"),
				 errdetail("Setting etl.secret_key_file is empty."),
				 errhint("Make a key with \"openssl rand -hex 32\" in a file outside the data directory, "
						 "chmod 600, and name it in etl.secret_key_file; "
						 "or define the secret by file or env.")));
	fd = open(etl_secret_key_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		refuse_key(psprintf("It cannot be opened: %s.", strerror(errno)),
				   "The operating system user of the server must be able to read it.");
	PG_TRY();
	{
		check_key_file(fd);
	}
	PG_CATCH();
	{
		close(fd);
		PG_RE_THROW();
	}
	PG_END_TRY();
	n = read(fd, bytes, sizeof(bytes));
	close(fd);

	ok = n > 0 && decode_key(bytes, n, key);
	OPENSSL_cleanse(bytes, sizeof(bytes));
	if (!ok)
		refuse_key("It holds neither 32 bytes nor 64 hexadecimal digits.",
				   "Make one with \"openssl rand -hex 32\".");
}

/*
 * crypt runs AES-256-GCM over 'length' bytes; false when libcrypto refuses
 * or, opening, the tag does not fit.
 */
static bool
crypt_bytes(bool seal, const char *name, const uint8 *key, uint8 *nonce, uint8 *tag,
			const uint8 *input, int length, uint8 *output)
{
	EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	int			n;
	bool		ok;

	if (cipher == NULL)
		return false;
	ok = EVP_CipherInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, nonce, seal ? 1 : 0) == 1 &&
		 EVP_CipherUpdate(cipher, NULL, &n, (const uint8 *) name, strlen(name)) == 1 &&
		 EVP_CipherUpdate(cipher, output, &n, input, length) == 1;
	if (ok && !seal)
		ok = EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_SET_TAG, TAG_SIZE, tag) == 1;
	ok = ok && EVP_CipherFinal_ex(cipher, output + length, &n) == 1;
	if (ok && seal)
		ok = EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, TAG_SIZE, tag) == 1;
	EVP_CIPHER_CTX_free(cipher);
	return ok;
}

char *
etl_seal(const char *name, const char *plain, int length, int *sealed_length)
{
	uint8	   *sealed = palloc(HEADER_SIZE + length + 16);
	uint8		key[KEY_SIZE];
	bool		ok;

	sealed[0] = SEAL_VERSION;
	if (!pg_strong_random(sealed + 1, NONCE_SIZE))
		ereport(ERROR,
				(errcode(ETL_ERR_SECRET), errmsg("could not get random bytes to seal a secret")));
	read_key(key);
	ok = crypt_bytes(true, name, key, sealed + 1, sealed + 1 + NONCE_SIZE,
					 (const uint8 *) plain, length, sealed + HEADER_SIZE);
	OPENSSL_cleanse(key, sizeof(key));
	if (!ok)
		ereport(ERROR,
				(errcode(ETL_ERR_SECRET), errmsg("libcrypto could not seal secret \"%s\"", name)));
	*sealed_length = HEADER_SIZE + length;
	return (char *) sealed;
}

char *
etl_unseal(const char *name, const char *sealed, int sealed_length, int *length)
{
	uint8		header[HEADER_SIZE];
	uint8		key[KEY_SIZE];
	char	   *plain;
	bool		ok;

	if (sealed_length < HEADER_SIZE || sealed[0] != SEAL_VERSION)
		return NULL;
	memcpy(header, sealed, HEADER_SIZE);
	*length = sealed_length - HEADER_SIZE;
	plain = palloc(*length + 16);
	read_key(key);
	ok = crypt_bytes(false, name, key, header + 1, header + 1 + NONCE_SIZE,
					 (const uint8 *) sealed + HEADER_SIZE, *length, (uint8 *) plain);
	OPENSSL_cleanse(key, sizeof(key));
	if (!ok)
	{
		OPENSSL_cleanse(plain, *length);
		return NULL;
	}
	plain[*length] = '\0';
	return plain;
}
