"""A PDF/A-3 that carries an electronic invoice says so in its metadata, which typst cannot write.

Source: Factur-X 1.0, the XMP extension schema of its namespace.
"""

from io import BytesIO

from pypdf import PdfWriter
from pypdf.generic import StreamObject

_NAMESPACE = "urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#"
_PROPERTIES = {
    "DocumentFileName": ("factur-x.xml", "The name of the embedded XML document"),
    "DocumentType": ("INVOICE", "The type of the hybrid document in capital letters, e.g. INVOICE or ORDER"),
    "Version": ("1.0", "The actual version of the standard applying to the embedded XML document"),
    "ConformanceLevel": ("EN 16931", "The conformance level of the embedded XML document"),
}
_END_OF_SCHEMAS, _END = b"</rdf:Bag></pdfaExtension:schemas>", b"</rdf:RDF>"


def as_factur_x(pdf: bytes) -> bytes:
    """The same file with the Factur-X properties in its metadata; the pages and their tags stay as they are."""
    # Incremental: the new metadata are put behind the old bytes, which nobody reads or writes again.
    writer = PdfWriter(BytesIO(pdf), incremental=True)
    metadata = writer.root_object["/Metadata"]
    assert isinstance(metadata, StreamObject)
    metadata.set_data(_with_properties(metadata.get_data()))
    written = BytesIO()
    writer.write(written)
    return written.getvalue()


def _with_properties(xmp: bytes) -> bytes:
    described = "".join(
        f'<rdf:li rdf:parseType="Resource"><pdfaProperty:name>{name}</pdfaProperty:name>'
        "<pdfaProperty:valueType>Text</pdfaProperty:valueType><pdfaProperty:category>external</pdfaProperty:category>"
        f"<pdfaProperty:description>{words}</pdfaProperty:description></rdf:li>"
        for name, (_, words) in _PROPERTIES.items()
    )
    schema = (
        '<rdf:li rdf:parseType="Resource"><pdfaSchema:schema>Factur-X PDFA Extension Schema</pdfaSchema:schema>'
        f"<pdfaSchema:namespaceURI>{_NAMESPACE}</pdfaSchema:namespaceURI><pdfaSchema:prefix>fx</pdfaSchema:prefix>"
        f"<pdfaSchema:property><rdf:Seq>{described}</rdf:Seq></pdfaSchema:property></rdf:li>"
    )
    values = "".join(f"<fx:{name}>{value}</fx:{name}>" for name, (value, _) in _PROPERTIES.items())
    stated = f'<rdf:Description rdf:about="" xmlns:fx="{_NAMESPACE}">{values}</rdf:Description>'
    assert xmp.count(_END_OF_SCHEMAS) == xmp.count(_END) == 1, xmp
    return xmp.replace(_END_OF_SCHEMAS, schema.encode() + _END_OF_SCHEMAS).replace(_END, stated.encode() + _END)
