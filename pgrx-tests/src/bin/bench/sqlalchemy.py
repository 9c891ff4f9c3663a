# Responses by an object-relational mapper, row by row, with the status computed in the
# application after the commit: the reference of the case record-status. Arguments: the socket's
# directory, the port, the number of rows. Prints the seconds.
import sys
import time

from sqlalchemy import ForeignKey, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload

directory, port, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
engine = create_engine(f"postgresql+psycopg://postgres@/postgres?host={directory}&port={port}")


class Base(DeclarativeBase):
    pass


class Record(Base):
    __tablename__ = "records_orm"
    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]
    responses: Mapped[list["Response"]] = relationship()


class Response(Base):
    __tablename__ = "responses_orm"
    id: Mapped[int] = mapped_column(primary_key=True)
    record_id: Mapped[int] = mapped_column(ForeignKey("records_orm.id"))
    user_id: Mapped[int]
    status: Mapped[str]


began = time.monotonic()
with Session(engine) as session:
    for record_id in range(1, rows + 1):
        session.add(Response(record_id=record_id, user_id=1, status="submitted"))
    session.commit()
    for record_id in range(1, rows + 1):
        record = session.get(Record, record_id, options=[selectinload(Record.responses)])
        submitted = sum(response.status == "submitted" for response in record.responses)
        record.status = "completed" if submitted >= 1 else "pending"
        session.commit()
print(time.monotonic() - began)
