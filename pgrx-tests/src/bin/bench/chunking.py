# LangChain's splitters over a file of texts that a zero byte ends each: the reference of the case
# chunking. Arguments: the file, the splitter. Prints the seconds of the cutting alone, the number and
# the characters of the chunks, and their checksum.
import logging
import sys
import time
import zlib

from langchain_text_splitters import CharacterTextSplitter, RecursiveCharacterTextSplitter

# It would log each piece that is too long, which takes its time.
logging.disable(logging.WARNING)
path, kind = sys.argv[1], sys.argv[2]
with open(path, encoding="utf-8", newline="") as file:
    texts = file.read().split("\0")[:-1]
if kind == "recursive":
    splitter = RecursiveCharacterTextSplitter(
        chunk_size=800, chunk_overlap=400, separators=["\n\n", "\n", ".", "?", "!", " ", ""], is_separator_regex=False
    )
else:
    splitter = CharacterTextSplitter(chunk_size=800, chunk_overlap=400, separator="\n\n", is_separator_regex=False)
chunks = characters = checksum = 0
seconds = 0.0
for text in texts:
    began = time.monotonic()
    found = splitter.split_text(text)
    seconds += time.monotonic() - began
    chunks += len(found)
    characters += sum(map(len, found))
    for chunk in found:
        checksum = zlib.crc32(chunk.encode() + b"\0", checksum)
print(seconds, chunks, characters, checksum)
