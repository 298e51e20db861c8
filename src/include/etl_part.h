/*-------------------------------------------------------------------------
 *
 * etl_part.h
 *    The ABI of loadable parts.
 *
 * What needs a library that the core must not depend on is a shared library
 * of its own, etl_<name>, which is loaded when it is first needed and exports
 * one function, etl_<name>_part, that returns a constant table of callbacks.
 * Without it everything else works, and what needs it says which package is
 * missing.  A part does what connectors may do and no more: it raises errors
 * and allocates in the current memory context, but never inside a callback of
 * its library; what the library took from malloc hangs on that context.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_PART_H
#define ETL_PART_H

#include "utils/memutils.h"

#include "etl_connector.h"

#define ETL_PART_ABI 1

/*
 * etl_part_rethrow raises an error that was copied in a callback of a library.
 * ReThrowError copies the other texts; these must outlive the part's memory.
 */
static inline void
etl_part_rethrow(ErrorData *error)
{
	const char **texts[] = {&error->filename, &error->funcname, &error->domain, &error->context_domain,
							&error->message_id};

	for (int i = 0; i < lengthof(texts); i++)
		if (*texts[i] != NULL)
			*texts[i] = MemoryContextStrdup(ErrorContext, *texts[i]);
	ReThrowError(error);
}

/* ---- etl_archive: bzip2, xz, zip and tar, by libarchive ---- */

/* A member of an archive; its strings live until the next one is asked for. */
typedef struct EtlMember
{
	const char *name;			/* path within the archive, in the server encoding */
	int64		size;			/* unpacked, -1 unknown */
	bool		encrypted;
} EtlMember;

typedef struct EtlArchivePart
{
	uint32		abi_version;	/* ETL_PART_ABI */

	/*
	 * Begins to read an archive from an open file, at its beginning.  'origin'
	 * is for messages.  The caller closes the file, after the archive.
	 */
	void *(*open)(int fd, const char *origin);
	/* the next member that is a regular file; false: none.  Raises ET007. */
	bool		(*next) (void *archive, EtlMember *member);
	/* bytes of that member, 0 at its end */
	size_t		(*read) (void *archive, char *buffer, size_t size);
	/* bytes of the file that were read so far */
	int64		(*packed) (void *archive);
	/* also done when the context goes away */
	void		(*close) (void *archive);

	/* what a stream packed with bzip2 or xz holds, in the current context */
	EtlRead *(*unpack)(EtlRead *input, const char *compression, const char *origin);
} EtlArchivePart;

/* ---- etl_pgp: OpenPGP messages, by gpgme ---- */

typedef struct EtlPgpPart
{
	uint32		abi_version;

	/*
	 * What an encrypted input holds, as it is decrypted.  Its end comes only
	 * when the message proved whole and unaltered; else reading raises ET007,
	 * or ET015 where no key opens it.  'key' is a secret key, armored or not,
	 * of 'key_length' bytes, NULL for a message encrypted with a passphrase
	 * alone; both stay in the caller's context.
	 */
	EtlRead *(*decrypt)(EtlRead *input, const char *key, size_t key_length, const char *passphrase,
						const char *origin);
} EtlPgpPart;

/* ---- etl_xml: records of XML documents, by libxml2 ---- */

typedef struct EtlXmlField
{
	const char *name;			/* of an element, @name of an attribute */
	const char *text;			/* UTF-8 */
	size_t		length;
} EtlXmlField;

typedef struct EtlXmlRecord
{
	const EtlXmlField *fields;	/* until the next call */
	int			nfields;
	const char *raw;			/* the element as text, in UTF-8 */
	size_t		raw_length;
	int64		line;			/* it begins on */
	const char *problem;		/* it is no record: why; NULL */
} EtlXmlRecord;

typedef struct EtlXmlPart
{
	uint32		abi_version;

	/*
	 * Begins to read documents whose records are the elements at 'path'
	 * (a/b/row, names as written or without prefix, * for any; NULL: the
	 * children of the root).  'encoding' NULL: as the document says.
	 */
	void *(*open)(EtlRead *input, const char *path, const char *encoding, size_t max_record,
				  const char *origin);
	/* the next record; false at the end.  Raises ET007 for a document that is none. */
	bool		(*next) (void *reader, EtlXmlRecord *record);
} EtlXmlPart;

#endif							/* ETL_PART_H */
