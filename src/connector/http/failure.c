/*-------------------------------------------------------------------------
 *
 * failure.c
 *    Saying what a failed request means, in plain language.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <curl/curl.h>
#include <openssl/x509_vfy.h>

#include "mb/pg_wchar.h"

#include "common/errors.h"
#include "connector/http/http.h"

#define EXCERPT_SIZE 300

char *
http_failure_text(const HttpResult *result)
{
	switch (result->code)
	{
		case CURLE_OK:
			return psprintf("HTTP %ld", result->status);
		case CURLE_COULDNT_RESOLVE_HOST:
			return pstrdup("an unknown host name");
		case CURLE_COULDNT_CONNECT:
			return pstrdup("a refused connection");
		case CURLE_OPERATION_TIMEDOUT:
			return pstrdup("a timeout");
		case CURLE_GOT_NOTHING:
		case CURLE_PARTIAL_FILE:
		case CURLE_RECV_ERROR:
		case CURLE_SEND_ERROR:
			return pstrdup("a dropped connection");
		default:
			return psprintf("\"%s\"", result->message);
	}
}

/*
 * certificate_problem explains why a certificate was refused.
 */
static const char *
certificate_problem(const HttpResult *result)
{
	/* libcurl compares the name itself, and has no code of its own for it */
	if (strstr(result->message, "subject name") != NULL)
		return "Its certificate was issued for another name.";
	switch (result->verify_result)
	{
		case X509_V_ERR_HOSTNAME_MISMATCH:
		case X509_V_ERR_IP_ADDRESS_MISMATCH:
			return "Its certificate was issued for another name.";
		case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
			return "Its certificate is self-signed: no authority that this server trusts vouches for it.";
		case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
		case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
		case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
			return "Its certificate was issued by an authority that this server does not trust.";
		case X509_V_ERR_CERT_HAS_EXPIRED:
			return "Its certificate has expired.";
		case X509_V_ERR_CERT_NOT_YET_VALID:
			return "Its certificate is not valid yet.";
		case X509_V_ERR_CERT_REVOKED:
			return "Its certificate was revoked.";
		default:
			return "Its certificate could not be verified.";
	}
}

/*
 * excerpt returns the beginning of an answer on one line, without secrets.
 */
static char *
excerpt(const HttpConfig *config, const HttpSink *sink)
{
	char		bytes[EXCERPT_SIZE + 1];
	HttpSinkReader reader;
	size_t		n = 0;
	size_t		more;
	int			length;

	http_sink_reader(&reader, sink);
	while (n < EXCERPT_SIZE &&
		   (more = reader.read.read(reader.read.arg, bytes + n, EXCERPT_SIZE - n)) > 0)
		n += more;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char) bytes[i] < ' ')
			bytes[i] = ' ';
	bytes[n] = '\0';
	/* up to the first byte that is no text in the database's encoding */
	length = pg_verify_mbstr_len(GetDatabaseEncoding(), bytes, n, true) >= 0 ?
				 n :
				 pg_encoding_verifymbstr(GetDatabaseEncoding(), bytes, n);
	bytes[length] = '\0';
	return http_mask(config, bytes);
}

/*
 * status_hint says what can be done about a status.
 */
static const char *
status_hint(const HttpResult *result)
{
	switch (result->status)
	{
		case 401:
		case 403:
			return "Check the option \"auth\" of the source, and what these credentials may see.";
		case 404:
		case 410:
			return "Check the url of the source and the path of the stream.";
		case 408:
		case 425:
		case 429:
			return "Set \"rate_limit\" of the source lower than what the server allows, or \"retry\" higher.";
		default:
			return result->status >= 500 ?
					   "The server has a problem of its own: run again later, or set \"retry\" "
					   "higher." :
					   "Check the options of the stream against the documentation of the server.";
	}
}

/*
 * report_status raises ET006.
 */
static void
report_status(const HttpConfig *config, const char *url, const HttpResult *result,
			  const HttpSink *sink, int attempts)
{
	char	   *body = excerpt(config, sink);
	char	   *wait = result->retry_after > 0 ?
					 psprintf(" It asks to wait %lld s.", (long long) result->retry_after) :
					 "";

	ereport(ERROR,
			(errcode(ETL_ERR_HTTP_STATUS),
			 errmsg("\"%s\" answered with HTTP %ld", url, result->status),
			 body[0] ? errdetail("Attempts: %d.%s The answer begins: %s", attempts, wait, body) :
					   errdetail("Attempts: %d.%s The answer is empty.", attempts, wait),
			 errhint("%s", status_hint(result))));
}

void
http_failure_report(const HttpConfig *config, const HttpRequest *request,
					const HttpResult *result, const HttpSink *sink, int attempts)
{
	char	   *url = http_url_show(config, request->url);

	if (result->code == CURLE_OK)
		report_status(config, url, result, sink, attempts);
	if (result->blocked != NULL)
		ereport(ERROR,
				(errcode(ETL_ERR_NOT_ALLOWED),
				 errmsg("host \"%s\" leads to an address that may not be reached",
						http_url_host(request->url)),
				 errdetail("It resolves to %s, which is private or reserved.", result->blocked),
				 errhint("Private and loopback addresses are reached only when etl.allowed_hosts "
						 "names the host itself.")));
	if (sink->too_large)
		ereport(ERROR,
				(errcode(ETL_ERR_TOO_LARGE),
				 errmsg("the answer of \"%s\" is larger than max_response_size", url),
				 errdetail("The limit is " INT64_FORMAT " bytes, after decompression.", sink->limit),
				 errhint("Ask for smaller pages, or raise \"max_response_size\" of the source.")));
	if (sink->write_errno != 0)
	{
		errno = sink->write_errno;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write a temporary file: %m")));
	}
	if (result->code == CURLE_PEER_FAILED_VERIFICATION)
		ereport(ERROR, (errcode(ETL_ERR_UNREACHABLE), errmsg("\"%s\" cannot be trusted", url),
						errdetail("%s (%s)", certificate_problem(result), result->message),
						errhint("Certificates are always verified. Renew the certificate, use the "
								"name it was issued for, "
								"or add its authority (etl.tls_ca_file).")));
	ereport(ERROR, (errcode(ETL_ERR_UNREACHABLE),
					errmsg("\"%s\" cannot be reached: %s", url, http_failure_text(result)),
					errdetail("Attempts: %d. %s.", attempts, http_mask(config, result->message)),
					errhint("Check the url, the network and \"timeout\" of the source; the run can "
							"be tried again.")));
}
