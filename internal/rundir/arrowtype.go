package rundir

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// bare is a schema without metadata: the Parquet reader notes the number of each field there, which would make equal
// schemas differ.
func bare(s *arrow.Schema) *arrow.Schema {
	fields := make([]arrow.Field, s.NumFields())
	for i, f := range s.Fields() {
		fields[i] = bareField(f)
	}
	return arrow.NewSchema(fields, nil)
}

func bareField(f arrow.Field) arrow.Field {
	return arrow.Field{Name: f.Name, Type: bareType(f.Type), Nullable: f.Nullable}
}

// bareType also gives list items the name that arrow.ListOf gives them: files call them element.
func bareType(t arrow.DataType) arrow.DataType {
	switch t := t.(type) {
	case *arrow.ListType:
		item := bareField(t.ElemField())
		item.Name = "item"
		return arrow.ListOfField(item)
	case *arrow.StructType:
		fields := make([]arrow.Field, t.NumFields())
		for i, f := range t.Fields() {
			fields[i] = bareField(f)
		}
		return arrow.StructOf(fields...)
	}
	return t
}

// relabel is the same batch under a schema that differs in metadata and in the names of list items only.
func relabel(b arrow.RecordBatch, schema *arrow.Schema) (arrow.RecordBatch, error) {
	cols := make([]arrow.Array, b.NumCols())
	for i, c := range b.Columns() {
		cols[i] = retype(c, schema.Field(i).Type)
		defer cols[i].Release()
	}
	return array.NewRecordBatch(schema, cols, b.NumRows()), nil
}

// retype is the same array with another label for its type and those of its children. The caller releases it.
func retype(a arrow.Array, t arrow.DataType) arrow.Array {
	d := retypeData(a.Data(), t)
	defer d.Release()
	return array.MakeFromData(d)
}

func retypeData(d arrow.ArrayData, t arrow.DataType) arrow.ArrayData {
	if b := d.Buffers(); t.ID() == arrow.STRING && len(b) == 3 && (b[2] == nil || b[2].Buf() == nil) {
		// Strings that are all empty may have no memory or some. The Parquet writer tells these apart in its statistics.
		return array.NewData(t, d.Len(), []*memory.Buffer{b[0], b[1], memory.NewBufferBytes([]byte{})}, nil, d.NullN(), d.Offset())
	}
	nested, ok := t.(arrow.NestedType)
	if !ok || d.DataType().ID() != t.ID() {
		d.Retain()
		return d
	}
	var children []arrow.ArrayData
	for i, f := range nested.Fields() {
		if i < len(d.Children()) {
			c := retypeData(d.Children()[i], f.Type)
			defer c.Release()
			children = append(children, c)
		}
	}
	return array.NewData(t, d.Len(), d.Buffers(), children, d.NullN(), d.Offset())
}
