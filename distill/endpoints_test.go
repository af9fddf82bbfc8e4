package distill

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse/internal/testkit"
)

// Each endpoint, and each key of one, gets its own key and nobody else's; none is stored.
func TestEndpointsHaveKeysOfTheirOwn(t *testing.T) {
	t.Setenv("KEY_1", planted+"-one")
	t.Setenv("KEY_2", planted+"-two")
	t.Setenv("KEY_3", planted+"-three")
	first, other := testkit.StartTeacher(t, &testkit.Teacher{}), testkit.StartTeacher(t, &testkit.Teacher{})
	d := newStage(t, first, func(d *Distill) {
		d.APIKeyEnv, d.Concurrency = new("KEY_1"), 1
		d.Endpoints = []EndpointOptions{{APIKeyEnv: new("KEY_2")}, {Endpoint: other.URL(), APIKeyEnv: new("KEY_3")}}
	})
	mustRun(t, d, questions(60))
	used := map[string]int{}
	for i, teacher := range []*testkit.Teacher{first, other} {
		for _, c := range teacher.Calls() {
			key := strings.TrimPrefix(c.Header.Get("Authorization"), "Bearer "+planted)
			assert.Equal(t, i == 1, key == "-three")
			used[key]++
		}
	}
	assert.Len(t, used, 3, "all are asked")
	require.NoError(t, d.Close())
	files, err := filepath.Glob(d.Store + "*")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		data, err := os.ReadFile(f)
		require.NoError(t, err)
		assert.NotContains(t, string(data), planted, f)
	}
}

func TestEndpointsAreChecked(t *testing.T) {
	for says, change := range map[string]func(*Options){
		`endpoints[0].endpoint: is not an http or https URL`:               func(o *Options) { o.Endpoints = []EndpointOptions{{Endpoint: "10.0.0.7"}} },
		`endpoints[0].api_key_env: is that of another entry with the same`: func(o *Options) { o.Endpoints = []EndpointOptions{{}} },
		`endpoints[1].api_key_env: is that of another entry with the same`: func(o *Options) {
			o.Endpoints = []EndpointOptions{{APIKeyEnv: new("A")}, {Endpoint: o.Endpoint + "/", APIKeyEnv: new("A")}}
		},
		`endpoints[0].concurrency: is -1: it must be 1 to 4096`: func(o *Options) { o.Endpoints = []EndpointOptions{{APIKeyEnv: new("A"), Concurrency: -1}} },
		`endpoints[0].limits.tokens_per_minute: is -5: it must be a positive`: func(o *Options) {
			o.Endpoints = []EndpointOptions{{APIKeyEnv: new("A"), Limits: LimitsOptions{TokensPerMinute: -5}}}
		},
		`limits.requests_per_minute: is -1: it must be a positive number`: func(o *Options) { o.Limits.RequestsPerMinute = -1 },
		`endpoints: cannot stand beside endpoint: embedded`: func(o *Options) {
			o.Endpoint, o.Endpoints = Embedded, []EndpointOptions{{Endpoint: "http://10.0.0.7/v1"}}
		},
	} {
		o := Options{Endpoint: "http://127.0.0.1:1/v1", Model: "m"}
		change(&o)
		o.EnsureDefaults()
		require.ErrorContains(t, o.Validate(), says)
	}
	o := Options{Endpoint: "https://api.example.com/v1", Model: "m", APIKeyEnv: new("A"),
		Endpoints: []EndpointOptions{{APIKeyEnv: new("B")}, {Endpoint: "http://127.0.0.1:9/v1"}, {Endpoint: "https://other.example.com/v1", Model: "org/m", Concurrency: 7}}}
	o.EnsureDefaults()
	require.NoError(t, o.Validate())
	var got []string
	for _, e := range o.lanes() {
		got = append(got, strings.Join([]string{e.Endpoint, *e.APIKeyEnv, e.Model}, " "))
	}
	assert.Equal(t, []string{"https://api.example.com/v1 A m", "https://api.example.com/v1 B m", "http://127.0.0.1:9/v1  m", "https://other.example.com/v1 OPENAI_API_KEY org/m"}, got)
	assert.Equal(t, 3*defaultConcurrency+7, o.most())
	t.Setenv("A", "a")
	t.Setenv("B", "")
	_, err := o.APIKey()
	require.ErrorContains(t, err, "the environment variable B is not set")
}

func TestDefaultConcurrency(t *testing.T) {
	for endpoint, want := range map[string]int{"https://api.example.com/v1": 256, "http://127.0.0.1:8000/v1": 64, Embedded: 16} {
		o := Options{Endpoint: endpoint, Model: "m"}
		o.EnsureDefaults()
		assert.Equal(t, want, o.Concurrency)
	}
}
