package stillhouse

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// A TokenLogProb is one token of an answer and the natural logarithm of the probability that the teacher gave it. Top
// are the likeliest tokens at its place with theirs, which include the token itself where it is one of them.
//
// Token is the endpoint's text of it. A token that ends within a character has U+FFFD there; its bytes are in the
// response store.
type TokenLogProb struct {
	Token   string
	LogProb float64 // NaN where the endpoint gave none
	Top     []AlternativeToken
}

// An AlternativeToken is a token that the teacher could have taken.
type AlternativeToken struct {
	Token   string
	LogProb float64
}

// LogProbsType is what a column of log-probabilities holds: for each token of an answer its text, its log-probability
// and those of the likeliest at its place.
var LogProbsType = arrow.ListOf(arrow.StructOf(
	arrow.Field{Name: "token", Type: arrow.BinaryTypes.String, Nullable: true},
	arrow.Field{Name: "logprob", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	arrow.Field{Name: "top", Type: arrow.ListOf(arrow.StructOf(
		arrow.Field{Name: "token", Type: arrow.BinaryTypes.String, Nullable: true},
		arrow.Field{Name: "logprob", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	)), Nullable: true},
))

func (r *reader) logProbs(name string) []TokenLogProb {
	if c := r.cols[name]; c == nil || c.IsNull(r.row) {
		return nil
	}
	items, from, to := r.list(name)
	out := make([]TokenLogProb, 0, to-from)
	text := func(a arrow.Array, i int) string { return clone(a.(*array.String).Value(i)) }
	number := func(a arrow.Array, i int) float64 { return a.(*array.Float64).Value(i) }
	tops := items.Field(2).(*array.List)
	for i := from; i < to; i++ {
		t := TokenLogProb{Token: text(items.Field(0), i), LogProb: number(items.Field(1), i)}
		if tops.IsValid(i) {
			a, b := tops.ValueOffsets(i)
			top := tops.ListValues().(*array.Struct)
			for k := int(a); k < int(b); k++ {
				t.Top = append(t.Top, AlternativeToken{Token: text(top.Field(0), k), LogProb: number(top.Field(1), k)})
			}
		}
		out = append(out, t)
	}
	return out
}

func (w *writer) logProbs(tokens []TokenLogProb) { AppendLogProbs(w.next(), tokens) }

// AppendLogProbs appends a row to a builder of [LogProbsType]; nil is null.
func AppendLogProbs(to array.Builder, tokens []TokenLogProb) {
	list := to.(*array.ListBuilder)
	if tokens == nil {
		list.AppendNull()
		return
	}
	list.Append(true)
	item := list.ValueBuilder().(*array.StructBuilder)
	text, number, tops := item.FieldBuilder(0).(*array.StringBuilder), item.FieldBuilder(1).(*array.Float64Builder), item.FieldBuilder(2).(*array.ListBuilder)
	top := tops.ValueBuilder().(*array.StructBuilder)
	for _, t := range tokens {
		item.Append(true)
		text.Append(t.Token)
		number.Append(t.LogProb)
		if t.Top == nil {
			tops.AppendNull()
			continue
		}
		tops.Append(true)
		for _, a := range t.Top {
			top.Append(true)
			top.FieldBuilder(0).(*array.StringBuilder).Append(a.Token)
			top.FieldBuilder(1).(*array.Float64Builder).Append(a.LogProb)
		}
	}
}
