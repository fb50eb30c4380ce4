package render
import ("testing";"os"
v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)
func TestX(t *testing.T){
 i:=&v1.FluxInstance{}; i.Name="flux"; i.Namespace="flux-system"; i.Spec.Distribution.Registry="ghcr.io/fluxcd"
 i.Spec.Sync=&v1.Sync{Kind:"GitRepository",URL:"https://x",Ref:"refs/heads/main",Path:"./a"}
 for _,v:=range []string{"v2.2.3","v2.3.0","v2.6.4","v2.8.8","v2.9.4"} {
 s,err:=Render(os.DirFS(os.Getenv("FLUX_RELEASES_DIR")),v,i)
 if err!=nil {t.Fatal(err)}
 t.Log(s.Revision,len(s.Objects),s.Images[0])
 y,_:=s.YAML(); os.WriteFile("/tmp/h/"+v+".yaml",y,0o644)
 }
}
func BenchmarkRender(b *testing.B){
 i:=&v1.FluxInstance{}; i.Name="flux"; i.Namespace="flux-system"; i.Spec.Distribution.Registry="ghcr.io/fluxcd"
 i.Spec.Components=knownComponents()
 b.ReportAllocs()
 for b.Loop(){ if _,err:=Render(os.DirFS(os.Getenv("FLUX_RELEASES_DIR")),"v2.9.4",i); err!=nil {b.Fatal(err)}}
}
