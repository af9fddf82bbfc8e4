package rowfile

import (
	"encoding/json"
	"errors"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

var errUTF8 = errors.New("it is not valid UTF-8")

// Value is an array's value as JSON. Structs become objects with their names sorted; what JSON has no word for, such as
// a date, becomes the text that Arrow writes for it. A text that is not UTF-8 is an error: JSON cannot hold it, and
// encoding/json would change it unseen.
func Value(a arrow.Array, i int) (json.RawMessage, error) {
	v, err := value(a, i)
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

func value(a arrow.Array, i int) (v any, err error) {
	if a.IsNull(i) {
		return nil, nil
	}
	switch a := a.(type) {
	case array.StringLike:
		if s := a.Value(i); utf8.ValidString(s) {
			return s, nil
		}
		return nil, errUTF8
	case array.ListLike:
		from, to := a.ValueOffsets(i)
		list := make([]any, 0, min(to-from, 1024))
		for k := from; k < to; k++ {
			if v, err = value(a.ListValues(), int(k)); err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case *array.Struct:
		m := make(map[string]any, a.NumField())
		for f, field := range a.DataType().(*arrow.StructType).Fields() {
			if !utf8.ValidString(field.Name) {
				return nil, errUTF8
			}
			if m[field.Name], err = value(a.Field(f), i); err != nil {
				return nil, err
			}
		}
		return m, nil
	case *array.Dictionary:
		return value(a.Dictionary(), a.GetValueIndex(i))
	default:
		return a.GetOneForMarshal(i), nil
	}
}
