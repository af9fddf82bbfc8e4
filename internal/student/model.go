// Package student is the small causal language model: its configuration and weights, the graph that trains it, and
// generation.
//
//	model.go     Model: a configuration and its parameters            config.go, load.go, save.go: Hugging Face directories
//	graph.go     the training graph, built and differentiated by gorgonia
//	generate.go  batched generation over a KV cache
package student

// A Param is one tensor of a model, fp32 and row-major, named as in the checkpoint.
type Param struct {
	Name  string // model.layers.0.self_attn.q_proj.weight
	Shape []int  // [out, in] for a projection
	Data  []float32
}

// A Model is a configuration and its parameters. A tied head has no parameter of its own.
type Model struct {
	Config Config
	Params []*Param // in the order of the layers: embed_tokens, layers 0…, norm, lm_head

	// Adapter, unless nil, is added to the projections and is what is trained; see Attach.
	Adapter *Adapter
}

// Config is what config.json says of a model of one of the [Architectures]. What is not supported is refused by name
// when it is read.
type Config struct {
	Architecture          string // LlamaForCausalLM, Qwen2ForCausalLM or Qwen3ForCausalLM
	VocabSize             int
	HiddenSize            int
	IntermediateSize      int
	NumHiddenLayers       int
	NumAttentionHeads     int
	NumKeyValueHeads      int
	HeadDim               int
	RMSNormEps            float64
	RopeTheta             float64
	RopeScaling           RopeScaling
	AttentionBias         bool // attention_bias, where the architecture has it; see QKVBias and OutputBias
	MLPBias               bool // mlp_bias, where the architecture has it
	MaxPositionEmbeddings int
	TieWordEmbeddings     bool
	BOSTokenID            int    // -1 when there is none
	EOSTokenIDs           []int  // of generation_config.json, else of config.json
	PadTokenID            int    // -1 when there is none
	Dtype                 string // of the checkpoint: float32, bfloat16 or float16
}

// Ignored is the label of a token that is not trained.
const Ignored = -100

// A Batch is one micro-batch: rows end to end, without padding. Attention never crosses a row and positions restart
// with each.
type Batch struct {
	Tokens  []int32 // all rows' tokens
	Labels  []int32 // as long as Tokens: the token itself where it is trained, else Ignored; predicted at the token before
	Lengths []int   // tokens of each row; they add up to len(Tokens)
}

// Stats are sums over the labels of a batch.
type Stats struct {
	Labels  int     // trained tokens
	Loss    float64 // cross-entropy, nats, summed; weighted where the graph uses DFT
	Correct int     // labels that were the likeliest token
	Entropy float64 // of the predictions, nats, summed
}

// Add adds the sums of other labels.
func (s *Stats) Add(t Stats) {
	s.Labels += t.Labels
	s.Loss += t.Loss
	s.Correct += t.Correct
	s.Entropy += t.Entropy
}
