/*-------------------------------------------------------------------------
 *
 * part.c
 *    The loadable part etl_xml: records of XML documents, by libxml2.
 *
 * The document is read as a stream; only the record at hand is a tree.
 * Nothing outside the document is ever read, and a document that declares
 * entities is refused: they are how a few bytes become gigabytes, or a file
 * of the server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <libxml/xmlreader.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "common/compat.h"
#include "common/errors.h"
#include "etl_part.h"

PG_MODULE_MAGIC;

#define SLACK (256 * 1024)		/* bytes that the library reads ahead */

extern PGDLLEXPORT const EtlXmlPart *etl_xml_part(void);

typedef struct XmlReader
{
	xmlTextReaderPtr reader;
	EtlRead    *input;
	char	   *origin;
	char	  **path;			/* names of the elements down to a record, NULL-terminated */
	int			depth;			/* of a record: how many stand around it */
	size_t		max_record;
	size_t		since;			/* bytes read since the record began */
	int			line;			/* the record begins on */
	bool		at_record;		/* the reader stands on one that was handed out */
	bool		oversize;
	bool		ended;
	char	   *fault;			/* what the library found wrong first */
	int			fault_line;
	int			fault_code;
	ErrorData  *error;			/* of the input */
	MemoryContext context;
	MemoryContext record;		/* reset with each */
	xmlBufferPtr raw;
	EtlXmlField *fields;
	int			nfields;
	int			maxfields;
	MemoryContextCallback callback;
} XmlReader;

/*
 * free_reader returns what the library took from malloc.
 */
static void
free_reader(void *arg)
{
	XmlReader  *xml = arg;

	if (xml->reader != NULL)
		xmlFreeTextReader(xml->reader);
	xml->reader = NULL;
	if (xml->raw != NULL)
		xmlBufferFree(xml->raw);
	xml->raw = NULL;
}

/*
 * pull_input is the library's callback for more bytes: nothing may be raised
 * in it.  It gets as many as it asks for, in whatever pieces they come: the
 * library converts encodings piece by piece, and finds an error in one sooner
 * or later by where it ends.
 */
static int
pull_input(void *arg, char *buffer, int size)
{
	XmlReader  *xml = arg;
	volatile size_t n = 0;

	/* the library asks once more after an error */
	if (xml->error != NULL)
		return -1;
	if (xml->since > xml->max_record + SLACK)
	{
		xml->oversize = true;
		return -1;
	}
	PG_TRY();
	{
		size_t		got;

		do
		{
			CHECK_FOR_INTERRUPTS();
			got = xml->input->read(xml->input->arg, buffer + n, size - n);
			n += got;
		} while (got > 0 && n < size);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(xml->context);
		xml->error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	xml->since += n;
	/* what came before an error is read first */
	return xml->error && n == 0 ? -1 : (int) n;
}

/*
 * note_fault is the library's callback for what is wrong; a name space that
 * was not declared is not.
 */
static void
note_fault(void *arg, xmlErrorPtr error)
{
	XmlReader  *xml = arg;
	const char *message = error->message ? error->message : "";
	size_t		length;

	if (error->level < XML_ERR_ERROR || error->domain == XML_FROM_NAMESPACE || xml->fault != NULL)
		return;
	length = strlen(message);
	xml->fault = MemoryContextAllocExtended(xml->context, length + 1, MCXT_ALLOC_NO_OOM);
	if (xml->fault == NULL)
		return;
	memcpy(xml->fault, message, length + 1);
	for (char *p = xml->fault; *p; p++)
		if (*p == '\n')
			*p = p[1] ? ' ' : '\0';
	xml->fault_line = error->line;
	xml->fault_code = error->code;
}

/*
 * failed raises why the document cannot be read on.
 */
pg_noreturn static void
failed(XmlReader *xml)
{
	bool		early;

	if (xml->error != NULL)
		etl_part_rethrow(xml->error);
	if (xml->oversize)
		ereport(ERROR,
				(errcode(ETL_ERR_TOO_LARGE),
				 errmsg("a record of \"%s\" is larger than etl.max_record_size", xml->origin),
				 errdetail("It begins in line %d.", xml->line),
				 errhint("Raise etl.max_record_size, or name a smaller element in the option records.")));
	/* within an element, what libxml2 has to say of the end is that it is no end */
	early = xml->fault == NULL ||
			(xml->fault_code == XML_ERR_DOCUMENT_END && xmlTextReaderDepth(xml->reader) > 0);
	ereport(ERROR,
			(errcode(ETL_ERR_PROTOCOL),
			 errmsg("XML document \"%s\" is malformed: %s", xml->origin,
					early ? "it ends early" : xml->fault),
			 errdetail("The fault is in line %d.", xml->fault_line),
			 errhint("%s", early ? "It was probably cut off while it was written or sent: get it again." :
								   "Correct it at its origin; xmllint shows the place.")));
}

/*
 * split_path reads a/b/row into its names.
 */
static void
split_path(XmlReader *xml, const char *path)
{
	char	   *copy = pstrdup(path);
	char	   *rest = NULL;
	int			n = 0;

	xml->path = palloc0(sizeof(char *) * (strlen(path) + 2));
	if (strcmp(path, ".") == 0)
		xml->path[n++] = "*";
	else
		for (char *part = strtok_r(copy, "/", &rest); part != NULL; part = strtok_r(NULL, "/", &rest))
			xml->path[n++] = part;
	xml->depth = n - 1;
}

static void *
xml_open(EtlRead *input, const char *path, const char *encoding, size_t max_record, const char *origin)
{
	XmlReader  *xml = palloc0(sizeof(XmlReader));

	xml->input = input;
	xml->origin = pstrdup(origin);
	xml->max_record = max_record;
	xml->context = CurrentMemoryContext;
	xml->record = AllocSetContextCreate(CurrentMemoryContext, "etl xml record", ALLOCSET_DEFAULT_SIZES);
	xml->maxfields = 64;
	xml->fields = palloc(xml->maxfields * sizeof(EtlXmlField));
	split_path(xml, path ? path : "*/*");
	xml->callback.func = free_reader;
	xml->callback.arg = xml;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &xml->callback);
	xml->raw = xmlBufferCreate();
	xml->reader = xmlReaderForIO(pull_input, NULL, xml, NULL, encoding, XML_PARSE_NONET | XML_PARSE_COMPACT);
	if (xml->reader == NULL || xml->raw == NULL)
	{
		if (xml->error != NULL)
			etl_part_rethrow(xml->error);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	xmlTextReaderSetStructuredErrorHandler(xml->reader, note_fault, xml);
	return xml;
}

/*
 * local_name returns a name without its prefix, also one that nothing declares.
 */
static const xmlChar *
local_name(const xmlChar *name)
{
	const char *colon = strchr((const char *) name, ':');

	return colon != NULL ? (const xmlChar *) colon + 1 : name;
}

/*
 * is_named tells whether an element has a name of the path: as written, or
 * without its prefix.
 */
static bool
is_named(xmlNodePtr node, const char *name)
{
	if (strcmp(name, "*") == 0)
		return true;
	if (strchr(name, ':') != NULL && node->ns != NULL && node->ns->prefix != NULL)
		return strcmp(name, psprintf("%s:%s", (const char *) node->ns->prefix,
									 (const char *) node->name)) == 0;
	return strcmp((const char *) node->name, name) == 0 ||
		   strcmp((const char *) local_name(node->name), name) == 0;
}

/*
 * at_path tells whether the element at hand is a record.
 */
static bool
at_path(XmlReader *xml)
{
	xmlNodePtr	node = xmlTextReaderCurrentNode(xml->reader);

	if (xmlTextReaderDepth(xml->reader) != xml->depth)
		return false;
	for (int i = xml->depth; i >= 0; i--, node = node->parent)
		if (node == NULL || node->type != XML_ELEMENT_NODE || !is_named(node, xml->path[i]))
			return false;
	return true;
}

/*
 * add_field appends a field; its text lives until the next record.
 */
static void
add_field(XmlReader *xml, const xmlChar *name, const char *text, size_t length)
{
	EtlXmlField *field;

	if (xml->nfields == xml->maxfields)
	{
		xml->maxfields *= 2;
		xml->fields = repalloc(xml->fields, xml->maxfields * sizeof(EtlXmlField));
	}
	field = &xml->fields[xml->nfields++];
	field->name = pstrdup((const char *) local_name(name));
	field->text = text ? pnstrdup(text, length) : NULL;
	field->length = text ? length : 0;
}

/*
 * is_nil knows xsi:nil="true".
 */
static bool
is_nil(xmlNodePtr node)
{
	for (xmlAttrPtr attribute = node->properties; attribute != NULL; attribute = attribute->next)
		if (strcmp((const char *) attribute->name, "nil") == 0 && attribute->ns != NULL &&
			attribute->children != NULL && attribute->children->content != NULL &&
			strcmp((const char *) attribute->children->content, "true") == 0)
			return true;
	return false;
}

/*
 * add_text appends a field of the texts of a node's children; with elements
 * among them it is their XML.
 */
static void
add_text(XmlReader *xml, const xmlChar *name, xmlNodePtr children)
{
	bool		nested = false;
	StringInfoData text;

	initStringInfo(&text);
	for (xmlNodePtr child = children; child != NULL; child = child->next)
		nested = nested || child->type == XML_ELEMENT_NODE;
	for (xmlNodePtr child = children; child != NULL; child = child->next)
	{
		if (nested)
		{
			xmlBufferEmpty(xml->raw);
			(void) xmlNodeDump(xml->raw, child->doc, child, 0, 0);
			appendBinaryStringInfo(&text, (const char *) xmlBufferContent(xml->raw),
								   xmlBufferLength(xml->raw));
		}
		else if ((child->type == XML_TEXT_NODE || child->type == XML_CDATA_SECTION_NODE) &&
				 child->content != NULL)
			appendStringInfoString(&text, (const char *) child->content);
	}
	add_field(xml, name, text.data, text.len);
}

/*
 * read_fields makes the fields of a record: its attributes, then its elements;
 * one that holds text only is a field by its own name.
 */
static void
read_fields(XmlReader *xml, xmlNodePtr node)
{
	bool		elements = false;

	xml->nfields = 0;
	for (xmlAttrPtr attribute = node->properties; attribute != NULL; attribute = attribute->next)
		add_text(xml, attribute->name, attribute->children);
	for (xmlNodePtr child = node->children; child != NULL; child = child->next)
	{
		if (child->type != XML_ELEMENT_NODE)
			continue;
		elements = true;
		if (is_nil(child))
			add_field(xml, child->name, NULL, 0);
		else
			add_text(xml, child->name, child->children);
		/* attributes of an element stand beside it */
		for (xmlAttrPtr attribute = child->properties; attribute != NULL; attribute = attribute->next)
			if (attribute->ns == NULL)
				add_text(xml,
						 (const xmlChar *) psprintf("%s_%s", (const char *) local_name(child->name),
													(const char *) attribute->name),
						 attribute->children);
	}
	if (!elements && node->children != NULL)
		add_text(xml, node->name, node->children);
}

/*
 * refuse_entities raises ET007 for a document type with entities of its own.
 */
static void
refuse_entities(XmlReader *xml)
{
	xmlNodePtr	node = xmlTextReaderCurrentNode(xml->reader);
	xmlDtdPtr	dtd = (xmlDtdPtr) node;

	if (node == NULL || node->type != XML_DTD_NODE || (dtd->entities == NULL && dtd->pentities == NULL))
		return;
	ereport(ERROR,
			(errcode(ETL_ERR_PROTOCOL),
			 errmsg("XML document \"%s\" declares entities, which are not read", xml->origin),
			 errdetail("They can make a few bytes grow without bound, or name files and hosts."),
			 errhint("Deliver the document without them.")));
}

/*
 * take_record makes a record of the element at hand.
 */
static void
take_record(XmlReader *xml, EtlXmlRecord *record)
{
	MemoryContext old;
	xmlNodePtr	node;

	MemoryContextReset(xml->record);
	old = MemoryContextSwitchTo(xml->record);
	memset(record, 0, sizeof(EtlXmlRecord));
	record->line = xml->line = xmlTextReaderGetParserLineNumber(xml->reader);
	node = xmlTextReaderExpand(xml->reader);
	if (node == NULL)
		failed(xml);
	read_fields(xml, node);
	xmlBufferEmpty(xml->raw);
	(void) xmlNodeDump(xml->raw, node->doc, node, 0, 0);
	record->raw = pnstrdup((const char *) xmlBufferContent(xml->raw), xmlBufferLength(xml->raw));
	record->raw_length = xmlBufferLength(xml->raw);
	record->fields = xml->fields;
	record->nfields = xml->nfields;
	xml->at_record = true;
	MemoryContextSwitchTo(old);
}

static bool
xml_next(void *state, EtlXmlRecord *record)
{
	XmlReader  *xml = state;

	for (;;)
	{
		int			result;

		if (xml->ended)
			return false;
		CHECK_FOR_INTERRUPTS();
		xml->since = 0;
		result = xml->at_record ? xmlTextReaderNext(xml->reader) : xmlTextReaderRead(xml->reader);
		xml->at_record = false;
		if (result < 0 || xml->fault != NULL || xml->error != NULL)
			failed(xml);
		if (result == 0)
		{
			xml->ended = true;
			return false;
		}
		if (xmlTextReaderNodeType(xml->reader) == XML_READER_TYPE_DOCUMENT_TYPE)
			refuse_entities(xml);
		if (xmlTextReaderNodeType(xml->reader) == XML_READER_TYPE_ELEMENT && at_path(xml))
		{
			take_record(xml, record);
			return true;
		}
	}
}

static const EtlXmlPart part = {
	.abi_version = ETL_PART_ABI,
	.open = xml_open,
	.next = xml_next,
};

const EtlXmlPart *
etl_xml_part(void)
{
	return &part;
}
