//! Small documents of every kind that is read, written by hand: what is in them is known, and so
//! is the text that must come out.

/// What a document says, as Markdown.
pub struct Sample {
    pub kind: &'static str,
    pub bytes: Vec<u8>,
    pub text: &'static str,
}

/// One document of each kind.
pub fn samples() -> Vec<Sample> {
    let sample = |kind, bytes, text| Sample { kind, bytes, text };
    vec![
        sample(
            "pdf",
            pdf(&[
                vec![
                    (24.0, 700, "Tide tables"),
                    (11.0, 660, "High water comes twice"),
                    (11.0, 646, "a day \\(mostly\\)."),
                    (11.0, 600, "Low water between."),
                ],
                vec![(11.0, 700, "Second page.")],
            ]),
            "# Tide tables\n\nHigh water comes twice\na day (mostly).\n\nLow water between.\n\nSecond page.",
        ),
        sample(
            "docx",
            docx(),
            "# Report\n\nFirst paragraph, in two runs.\n\n## Details & more\n\n- apples\n- pears\n  - green ones\n\n| Fruit | Price |\n| --- | --- |\n| apple | 1.20 |\n\nLast\nlines.",
        ),
        sample(
            "pptx",
            pptx(),
            "## Opening\n\nWelcome all\n- a point\n\nSay hello first.\n\n## Closing\n\n| a | b |\n| --- | --- |\n| c | d |",
        ),
        sample(
            "xlsx",
            xlsx(),
            "## Prices\n\n| item | price | since |\n| --- | --- | --- |\n| pen | 1.5 | 2024-02-29 |\n| ink |  | TRUE |",
        ),
        sample(
            "html",
            HTML.as_bytes().to_vec(),
            "# Tides\n\n## High water\n\nComes & goes.\n\n- spring\n- neap",
        ),
        sample("epub", epub(), "# One\n\nFirst chapter.\n\n# Two\n\nSecond chapter."),
        sample("markdown", b"# Title\r\n\r\n* item\r\n".to_vec(), "# Title\n\n* item\n"),
        sample("text", b"\xff\xfeG\0r\0\xfc\0n\0".to_vec(), "Grün"),
    ]
}

const HTML: &str = "<!doctype html><html><head><title>Tides</title><style>h2 { color: red }</style></head>
<body><h2>High water</h2><p>Comes &amp; <b>goes</b>.</p><script>alert('<p>no</p>')</script><ul><li>spring<li>neap</ul></body></html>";

// --- ZIP ----------------------------------------------------------------------------------------

/// An archive of members that are not compressed.
pub fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in members {
        let entry = Entry { name, method: 0, crc: crc32(bytes), packed: bytes, length: bytes.len() as u32 };
        entry.write(&mut out, &mut directory);
    }
    end_of_zip(out, directory, members.len())
}

/// An archive with one member of `packed` deflated bytes besides the others; `crc` and `length` are
/// what it claims of them.
pub fn zip_with_deflated(
    members: &[(&str, &[u8])],
    name: &str,
    packed: &[u8],
    crc: u32,
    length: u32,
) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in members {
        let entry = Entry { name, method: 0, crc: crc32(bytes), packed: bytes, length: bytes.len() as u32 };
        entry.write(&mut out, &mut directory);
    }
    Entry { name, method: 8, crc, packed, length }.write(&mut out, &mut directory);
    end_of_zip(out, directory, members.len() + 1)
}

struct Entry<'a> {
    name: &'a str,
    method: u16,
    crc: u32,
    packed: &'a [u8],
    length: u32,
}

impl Entry<'_> {
    fn write(&self, out: &mut Vec<u8>, directory: &mut Vec<u8>) {
        let mut common = Vec::new();
        common.extend(20u16.to_le_bytes());
        common.extend(0u16.to_le_bytes());
        common.extend(self.method.to_le_bytes());
        common.extend([0, 0, 0x21, 0]);
        common.extend(self.crc.to_le_bytes());
        common.extend((self.packed.len() as u32).to_le_bytes());
        common.extend(self.length.to_le_bytes());
        common.extend((self.name.len() as u16).to_le_bytes());
        common.extend(0u16.to_le_bytes());
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend((out.len() as u32).to_le_bytes());
        directory.extend(self.name.as_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(self.name.as_bytes());
        out.extend(self.packed);
    }
}

fn end_of_zip(mut out: Vec<u8>, directory: Vec<u8>, members: usize) -> Vec<u8> {
    let begin = out.len() as u32;
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend((members as u16).to_le_bytes());
    out.extend((members as u16).to_le_bytes());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(begin.to_le_bytes());
    out.extend(0u16.to_le_bytes());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}

/// A deflate stream of `megabytes` of spaces, which has a hundredth of that, and how many they are.
pub fn deflated_spaces(megabytes: usize) -> (Vec<u8>, u32) {
    // One fixed-code block: a space, then matches of length 258 at distance 1, each 13 bits.
    let mut bits = Bits::default();
    bits.put(0b011, 3);
    bits.code(0x30 + b' ' as u32, 8);
    let matches = megabytes * 1024 * 1024 / 258;
    for _ in 0..matches {
        // Length 258 is symbol 285, 8 bits from 0b11000000 at 280; distance 1 is symbol 0 of 5 bits.
        bits.code(0b1100_0101, 8);
        bits.code(0, 5);
    }
    bits.code(0, 7);
    (bits.finish(), 1 + 258 * matches as u32)
}

#[derive(Default)]
struct Bits {
    out: Vec<u8>,
    now: u32,
    count: u32,
}

impl Bits {
    fn put(&mut self, value: u32, width: u32) {
        for i in 0..width {
            self.now |= (value >> i & 1) << self.count;
            self.count += 1;
            if self.count == 8 {
                self.out.push(self.now as u8);
                (self.now, self.count) = (0, 0);
            }
        }
    }

    /// Huffman codes go in from their highest bit.
    fn code(&mut self, value: u32, width: u32) {
        for i in (0..width).rev() {
            self.put(value >> i & 1, 1);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.count > 0 {
            self.out.push(self.now as u8);
        }
        self.out
    }
}

// --- Office -------------------------------------------------------------------------------------

fn docx() -> Vec<u8> {
    let styles = r#"<w:styles xmlns:w="w"><w:style w:type="paragraph" w:styleId="Titel"><w:name w:val="Title"/></w:style>
        <w:style w:styleId="berschrift2"><w:name w:val="heading 2"/></w:style></w:styles>"#;
    let list = |level, text| {
        format!(
            r#"<w:p><w:pPr><w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="1"/></w:numPr></w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"#
        )
    };
    let cell = |text| format!("<w:tc><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>");
    let body = format!(
        r#"<w:p><w:pPr><w:pStyle w:val="Titel"/></w:pPr><w:r><w:t>Report</w:t></w:r></w:p>
        <w:p><w:r><w:t xml:space="preserve">First paragraph, </w:t></w:r><w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:r><w:t>in two runs.</w:t></w:r></w:p>
        <w:p/><w:p><w:pPr><w:pStyle w:val="berschrift2"/></w:pPr><w:r><w:t>Details &amp; more</w:t></w:r></w:p>
        {}{}{}<w:tbl><w:tr>{}{}</w:tr><w:tr>{}{}</w:tr></w:tbl>
        <w:p><w:r><w:t>Last</w:t><w:br/><w:t>lines.</w:t></w:r></w:p>"#,
        list(0, "apples"),
        list(0, "pears"),
        list(1, "green ones"),
        cell("Fruit"),
        cell("Price"),
        cell("apple"),
        cell("1.20"),
    );
    docx_of(&body, styles)
}

/// A Word document of this body.
pub fn docx_of(body: &str, styles: &str) -> Vec<u8> {
    let document = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><w:document xmlns:w="w"><w:body>{body}</w:body></w:document>"#
    );
    zip(&[
        ("[Content_Types].xml", b"<Types/>"),
        ("word/document.xml", document.as_bytes()),
        ("word/styles.xml", styles.as_bytes()),
    ])
}

fn pptx() -> Vec<u8> {
    let shape = |kind: &str, paragraphs: &str| {
        format!(
            r#"<p:sp><p:nvSpPr><p:nvPr><p:ph type="{kind}"/></p:nvPr></p:nvSpPr><p:txBody>{paragraphs}</p:txBody></p:sp>"#
        )
    };
    let text = |text: &str| format!("<a:p><a:r><a:t>{text}</a:t></a:r></a:p>");
    let point = r#"<a:p><a:pPr lvl="1"/><a:r><a:t>a point</a:t></a:r></a:p>"#;
    let slide = |shapes: String| {
        format!(r#"<p:sld xmlns:p="p" xmlns:a="a"><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>"#)
    };
    let opening = slide(
        shape("title", &text("Opening"))
            + &shape("body", &(text("Welcome all") + point))
            + &shape("sldNum", &text("1")),
    );
    let row = |a: &str, b: &str| {
        format!(
            "<a:tr><a:tc><a:txBody>{}</a:txBody></a:tc><a:tc><a:txBody>{}</a:txBody></a:tc></a:tr>",
            text(a),
            text(b)
        )
    };
    let table = format!("<p:graphicFrame><a:tbl>{}{}</a:tbl></p:graphicFrame>", row("a", "b"), row("c", "d"));
    let closing = slide(shape("ctrTitle", &text("Closing")) + &table);
    let notes = slide(shape("body", &text("Say hello first.")));
    let presentation = r#"<p:presentation xmlns:p="p" xmlns:r="r"><p:sldIdLst><p:sldId id="256" r:id="rId2"/><p:sldId id="257" r:id="rId1"/></p:sldIdLst></p:presentation>"#;
    let relation = |id: &str, kind: &str, target: &str| {
        format!(r#"<Relationship Id="{id}" Type="http://x/{kind}" Target="{target}"/>"#)
    };
    let relations = format!(
        "<Relationships>{}{}</Relationships>",
        relation("rId1", "slide", "slides/slide1.xml"),
        relation("rId2", "slide", "slides/slide2.xml")
    );
    let of_slide = format!(
        "<Relationships>{}</Relationships>",
        relation("rId9", "notesSlide", "../notesSlides/notesSlide1.xml")
    );
    zip(&[
        ("ppt/presentation.xml", presentation.as_bytes()),
        ("ppt/_rels/presentation.xml.rels", relations.as_bytes()),
        // The order is the presentation's, not that of the names.
        ("ppt/slides/slide1.xml", closing.as_bytes()),
        ("ppt/slides/slide2.xml", opening.as_bytes()),
        ("ppt/slides/_rels/slide2.xml.rels", of_slide.as_bytes()),
        ("ppt/notesSlides/notesSlide1.xml", notes.as_bytes()),
    ])
}

fn xlsx() -> Vec<u8> {
    let sheet = r#"<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>
        <row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="inlineStr"><is><t>price</t></is></c><c r="C1" t="inlineStr"><is><t>since</t></is></c></row>
        <row r="2"><c r="A2" t="inlineStr"><is><t>pen</t></is></c><c r="B2"><v>1.5</v></c><c r="C2" s="1"><v>45351</v></c></row>
        <row r="4"><c r="A4" t="inlineStr"><is><t>ink</t></is></c><c r="C4" t="b"><v>1</v></c></row></sheetData></worksheet>"#;
    let workbook = r#"<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets><sheet name="Prices" sheetId="1" r:id="rId1"/></sheets></workbook>"#;
    let relations = r#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>"#;
    let strings = r#"<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><si><t>item</t></si></sst>"#;
    let styles = r#"<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>"#;
    zip(&[
        (
            "_rels/.rels",
            relations
                .replace("worksheets/sheet1", "xl/workbook")
                .replace("/worksheet\"", "/officeDocument\"")
                .as_bytes(),
        ),
        ("xl/workbook.xml", workbook.as_bytes()),
        ("xl/_rels/workbook.xml.rels", relations.as_bytes()),
        ("xl/worksheets/sheet1.xml", sheet.as_bytes()),
        ("xl/sharedStrings.xml", strings.as_bytes()),
        ("xl/styles.xml", styles.as_bytes()),
    ])
}

fn epub() -> Vec<u8> {
    let container =
        r#"<container><rootfiles><rootfile full-path="OEBPS/content.opf"/></rootfiles></container>"#;
    let package = r#"<package><manifest><item id="b" href="two.xhtml" media-type="application/xhtml+xml"/>
        <item id="a" href="text/one%20page.xhtml" media-type="application/xhtml+xml"/><item id="c" href="x.css" media-type="text/css"/></manifest>
        <spine><itemref idref="a"/><itemref idref="b"/><itemref idref="c"/></spine></package>"#;
    let page = |title: &str, text: &str| {
        format!(
            r#"<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><script src="x"/></head><body><h1>{title}</h1><p>{text}</p></body></html>"#
        )
    };
    zip(&[
        ("mimetype", b"application/epub+zip"),
        ("META-INF/container.xml", container.as_bytes()),
        ("OEBPS/content.opf", package.as_bytes()),
        ("OEBPS/text/one page.xhtml", page("One", "First chapter.").as_bytes()),
        ("OEBPS/two.xhtml", page("Two", "Second chapter.").as_bytes()),
    ])
}

// --- PDF ----------------------------------------------------------------------------------------

/// Pages of lines: size of the type, height on the page, text as PDF writes it in parentheses.
pub fn pdf(pages: &[Vec<(f64, i32, &str)>]) -> Vec<u8> {
    let contents: Vec<Vec<u8>> = pages
        .iter()
        .map(|lines| {
            let mut content = String::from("BT\n");
            for (size, y, text) in lines {
                content.push_str(&format!("/F1 {size} Tf 1 0 0 1 72 {y} Tm ({text}) Tj\n"));
            }
            content.push_str("ET");
            content.into_bytes()
        })
        .collect();
    pdf_of(&contents, "")
}

/// Pages with these content streams, whose dictionaries have `entries` besides their length.
pub fn pdf_of(contents: &[Vec<u8>], entries: &str) -> Vec<u8> {
    let mut objects: Vec<Vec<u8>> = Vec::new();
    let kids: Vec<String> = (0..contents.len()).map(|i| format!("{} 0 R", 4 + 2 * i)).collect();
    objects.push(b"<< /Type /Catalog /Pages 2 0 R >>".to_vec());
    objects.push(format!("<< /Type /Pages /Kids [{}] /Count {} >>", kids.join(" "), kids.len()).into_bytes());
    objects
        .push(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_vec());
    for (i, content) in contents.iter().enumerate() {
        objects.push(
            format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> /Contents {} 0 R >>",
                5 + 2 * i
            )
            .into_bytes(),
        );
        let mut stream = format!("<< /Length {} {entries} >>\nstream\n", content.len()).into_bytes();
        stream.extend(content);
        stream.extend(b"\nendstream");
        objects.push(stream);
    }
    pdf_of_objects(&objects)
}

/// One page that draws the first of several forms, each of which draws others: `draws` says which,
/// by number from 0.
pub fn pdf_of_forms(draws: &[Vec<usize>]) -> Vec<u8> {
    let forms: String = (0..draws.len()).map(|i| format!("/X{i} {} 0 R ", 5 + i)).collect();
    let resources = format!("<< /XObject << {forms}>> >>");
    let stream = |entries: &str, content: &str| {
        format!("<< {entries} /Length {} >>\nstream\n{content}\nendstream", content.len()).into_bytes()
    };
    let mut objects = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
        format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources {resources} /Contents 4 0 R >>"
        )
        .into_bytes(),
        stream("", "/X0 Do"),
    ];
    for drawn in draws {
        let content: String = drawn.iter().map(|i| format!("/X{i} Do ")).collect();
        let entries = format!("/Type /XObject /Subtype /Form /BBox [0 0 1 1] /Resources {resources}");
        objects.push(stream(&entries, &content));
    }
    pdf_of_objects(&objects)
}

/// Objects 1, 2, … behind a header, before a table of where they lie; object 1 is the catalog.
pub fn pdf_of_objects(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut out = b"%PDF-1.5\n".to_vec();
    let mut places = Vec::new();
    for (i, object) in objects.iter().enumerate() {
        places.push(out.len());
        out.extend(format!("{} 0 obj\n", i + 1).as_bytes());
        out.extend(object);
        out.extend(b"\nendobj\n");
    }
    let table = out.len();
    out.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).as_bytes());
    for place in places {
        out.extend(format!("{place:010} 00000 n \n").as_bytes());
    }
    out.extend(
        format!("trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n", objects.len() + 1)
            .as_bytes(),
    );
    out
}
