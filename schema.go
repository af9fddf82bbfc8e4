package stillhouse

import "github.com/apache/arrow-go/v18/arrow"

// MessageType is one message of a conversation.
var MessageType = arrow.StructOf(
	arrow.Field{Name: "role", Type: arrow.BinaryTypes.String, Nullable: true},
	arrow.Field{Name: "content", Type: arrow.BinaryTypes.String, Nullable: true},
)

// ConversationType is a list of messages, as TRL and datasets read it.
var ConversationType = arrow.ListOf(MessageType)

// ScoreType is what one reward says of a candidate.
var ScoreType = arrow.StructOf(
	arrow.Field{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
	arrow.Field{Name: "score", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	arrow.Field{Name: "verdict", Type: arrow.BinaryTypes.String, Nullable: true},
	arrow.Field{Name: "evidence", Type: arrow.BinaryTypes.String, Nullable: true},
)

func text(name string) arrow.Field { return arrow.Field{Name: name, Type: arrow.BinaryTypes.String} }

func optional(name string) arrow.Field {
	return arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true}
}

func count(name string) arrow.Field {
	return arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Int32}
}

func optionalCount(name string) arrow.Field {
	return arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Int32, Nullable: true}
}

var promptFields = []arrow.Field{
	text("prompt_id"),
	{Name: "prompt", Type: ConversationType},
	optional("tools"), // JSON
	optional("reference"),
	text("source"),
	optional("meta"),            // JSON
	optional("prompt_messages"), // JSON
}

var candidateFields = append(promptFields[:len(promptFields):len(promptFields)],
	count("sample"),
	arrow.Field{Name: "completion", Type: ConversationType},
	optional("reasoning"),
	optional("tool_calls"), // JSON
	text("finish_reason"),
	count("prompt_tokens"),
	count("completion_tokens"),
	text("model"),
	text("request_key"),
	optional("refusal"),
	arrow.Field{Name: "logprobs", Type: LogProbsType, Nullable: true},
	optionalCount("cached_tokens"),
	optionalCount("reasoning_tokens"),
	optional("system_fingerprint"),
	optional("system"),
)

var scoredFields = append(candidateFields[:len(candidateFields):len(candidateFields)],
	arrow.Field{Name: "reward", Type: arrow.PrimitiveTypes.Float64},
	arrow.Field{Name: "scores", Type: arrow.ListOf(ScoreType)},
)

// The schemas that flow between the stages. A stage looks columns up by name and passes columns on that it does not
// know.
var (
	PromptSchema    = arrow.NewSchema(promptFields, nil)
	CandidateSchema = arrow.NewSchema(candidateFields, nil)
	ScoredSchema    = arrow.NewSchema(scoredFields, nil)

	// SampleSchema is a training row. prompt and completion come first: that is what TRL reads.
	SampleSchema = arrow.NewSchema([]arrow.Field{
		{Name: "prompt", Type: ConversationType},
		{Name: "completion", Type: ConversationType},
		optional("tools"),
		text("prompt_id"),
		count("sample"),
		{Name: "reward", Type: arrow.PrimitiveTypes.Float64},
		optional("reasoning"),
		optional("tool_calls"),
		text("finish_reason"),
		count("completion_tokens"),
		text("model"),
		text("request_key"),
		optional("meta"),
		optional("refusal"),
		{Name: "logprobs", Type: LogProbsType, Nullable: true},
		optionalCount("reasoning_tokens"),
		optional("system"),
		optional("prompt_messages"),
	}, nil)

	// PairSchema is a preference pair: two candidates of a prompt, of which the chosen one has the higher reward. prompt,
	// chosen and rejected come first, each a list of messages: TRL's conversational preference format with an explicit
	// prompt. It is for export; nothing here trains on it.
	PairSchema = arrow.NewSchema([]arrow.Field{
		{Name: "prompt", Type: ConversationType},
		{Name: "chosen", Type: ConversationType},
		{Name: "rejected", Type: ConversationType},
		optional("tools"),
		text("prompt_id"),
		count("chosen_sample"),
		count("rejected_sample"),
		{Name: "score_chosen", Type: arrow.PrimitiveTypes.Float64},
		{Name: "score_rejected", Type: arrow.PrimitiveTypes.Float64},
		count("chosen_completion_tokens"),
		count("rejected_completion_tokens"),
		optional("chosen_reasoning"),
		optional("rejected_reasoning"),
		optional("chosen_tool_calls"),
		optional("rejected_tool_calls"),
		text("chosen_finish_reason"),
		text("rejected_finish_reason"),
		text("chosen_model"),
		text("rejected_model"),
		text("chosen_request_key"),
		text("rejected_request_key"),
		optional("meta"),
		optional("system"),
		optional("prompt_messages"),
	}, nil)
)

// DropSchema is the schema of rows that a stage left out: its input rows and why.
func DropSchema(in *arrow.Schema) *arrow.Schema {
	return arrow.NewSchema(append(in.Fields(), text("stage"), text("reason"), text("detail")), nil)
}

// Require is an error that names the first of the columns that in lacks or has with another type than want has.
func Require(in, want *arrow.Schema, columns ...string) error {
	for _, name := range columns {
		f, ok := want.FieldsByName(name)
		if !ok {
			return Invalidf("column %q is not a column of this schema: %v", name, names(want))
		}
		got, ok := in.FieldsByName(name)
		switch {
		case !ok:
			return Invalidf("column %q is missing: the columns there are %v", name, names(in))
		case !sameType(f[0].Type, got[0].Type):
			return Invalidf("column %q is %v, not %v", name, got[0].Type, f[0].Type)
		}
	}
	return nil
}

// Needed are the columns that rows of a schema must have to be read: those that cannot be null. What can be null may be
// missing, as it is in the files of earlier versions, and is null then.
func Needed(s *arrow.Schema) (columns []string) {
	for _, f := range s.Fields() {
		if !f.Nullable {
			columns = append(columns, f.Name)
		}
	}
	return columns
}

// RequireRows is an error that names the first of the columns of want that in lacks though they are needed, or has with
// another type.
func RequireRows(in, want *arrow.Schema) error {
	columns := Needed(want)
	for _, f := range want.Fields() {
		if f.Nullable && in.HasField(f.Name) {
			columns = append(columns, f.Name)
		}
	}
	return Require(in, want, columns...)
}

// sameType compares types as values are read: the names and nullability that files give to list items don't count.
func sameType(a, b arrow.DataType) bool {
	switch a := a.(type) {
	case *arrow.ListType:
		b, ok := b.(*arrow.ListType)
		return ok && sameType(a.Elem(), b.Elem())
	case *arrow.StructType:
		b, ok := b.(*arrow.StructType)
		if !ok || a.NumFields() != b.NumFields() {
			return false
		}
		for i, f := range a.Fields() {
			if g := b.Field(i); f.Name != g.Name || !sameType(f.Type, g.Type) {
				return false
			}
		}
		return true
	default:
		return arrow.TypeEqual(a, b)
	}
}

func names(s *arrow.Schema) (out []string) {
	for _, f := range s.Fields() {
		out = append(out, f.Name)
	}
	return out
}
