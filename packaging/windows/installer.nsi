; The installer of MAPDR for Windows, 64 bit, for the whole machine.
;
;   makensis -DVERSION=0.1.0 -DDIST=.../dist -DSOURCES=.../packaging -DOUT=mapdr-setup.exe installer.nsi
;
; MAPDR-setup.exe [/S] [/TO=AE@HOST:PORT] [/AE=TITLE] [/PORT=NUMBER] [/D=FOLDER]
;   /S    asks nothing. /TO, /AE and /PORT write a first configuration where there is none: `mapdr init`.
;   Ends with 0; 1 if it was called off; 2 if nothing was changed, because the old program is in use or the new
;   one does not start; 3 if the program is installed and the service, the firewall's rule, the group or the
;   rights of the data folder are not.
; uninstall.exe [/S] [/DATA]
;   /DATA removes configuration and data too; without /S a question is asked.

Unicode true
Target amd64-unicode
SetCompressor /SOLID lzma
RequestExecutionLevel admin
ManifestDPIAware true
Name "MAPDR"
OutFile "${OUT}"
InstallDir "$PROGRAMFILES64\MAPDR"
InstallDirRegKey HKLM "Software\MAPDR" "Folder"
ShowInstDetails show
VIProductVersion "${VERSION}.0"
VIAddVersionKey "ProductName" "MAPDR"
VIAddVersionKey "FileDescription" "MAPDR installer"
VIAddVersionKey "FileVersion" "${VERSION}"
VIAddVersionKey "ProductVersion" "${VERSION}"
VIAddVersionKey "CompanyName" "MAPDR developers"
VIAddVersionKey "LegalCopyright" "MAPDR developers; proprietary"

!include "MUI2.nsh"
!include "FileFunc.nsh"
!include "LogicLib.nsh"

!define UNINSTALL "Software\Microsoft\Windows\CurrentVersion\Uninstall\MAPDR"
!define GROUP "MAPDR Operators"
!define MUI_ICON "${SOURCES}/frozen/mapdr.ico"
!define MUI_UNICON "${SOURCES}/frozen/mapdr.ico"
!insertmacro MUI_PAGE_LICENSE "${SOURCES}/../LICENSE"
!insertmacro MUI_PAGE_DIRECTORY
!insertmacro MUI_PAGE_INSTFILES
!insertmacro MUI_UNPAGE_CONFIRM
!insertmacro MUI_UNPAGE_INSTFILES
!insertmacro MUI_LANGUAGE "English"

Var Lacking   ; what could not be set up, in words
Var WasThere  ; "yes" where a program is replaced

; Runs a program without a window; what it says goes to the details. Its exit status is left in $0.
!macro Run command
  nsExec::ExecToLog `${command}`
  Pop $0
!macroend

; As Run, and what fails is told at the end.
!macro Must command what
  !insertmacro Run `${command}`
  ${If} $0 != 0
    StrCpy $Lacking "$Lacking ${what};"
  ${EndIf}
!macroend

Function .onInit
  SetShellVarContext all
  StrCpy $Lacking ""
FunctionEnd

Function un.onInit
  SetShellVarContext all
FunctionEnd

Section "MAPDR"
  SetOutPath "$INSTDIR"
  StrCpy $WasThere "no"
  ${If} ${FileExists} "$INSTDIR\program\mapdr.exe"
    StrCpy $WasThere "yes"
    DetailPrint "The service finishes what it does, and stops."
    !insertmacro Run '"$INSTDIR\program\mapdr.exe" service stop'
    RMDir /r "$INSTDIR\previous"
    ClearErrors
    Rename "$INSTDIR\program" "$INSTDIR\previous"
    ${If} ${Errors}
      !insertmacro Run '"$INSTDIR\program\mapdr.exe" service start'
      MessageBox MB_OK|MB_ICONSTOP "MAPDR is in use: close its window and try again. Nothing was changed." /SD IDOK
      SetErrorLevel 2
      Quit
    ${EndIf}
  ${EndIf}

  ClearErrors
  SetOutPath "$INSTDIR\program"
  File /r "${DIST}/MAPDR/*"
  SetOutPath "$INSTDIR"
  ${IfNot} ${Errors}
    !insertmacro Run '"$INSTDIR\program\mapdr.exe" --version'
    ${If} $0 != 0
      SetErrors
    ${EndIf}
  ${EndIf}
  ${If} ${Errors}
    RMDir /r "$INSTDIR\program"
    ${If} $WasThere == "yes"
      Rename "$INSTDIR\previous" "$INSTDIR\program"
      !insertmacro Run '"$INSTDIR\program\mapdr.exe" service start'
    ${EndIf}
    MessageBox MB_OK|MB_ICONSTOP "The new program cannot be put in place. What was there before is there again." /SD IDOK
    SetErrorLevel 2
    Quit
  ${EndIf}

  RMDir /r "$INSTDIR\licenses"
  SetOutPath "$INSTDIR\licenses"
  File /r "${DIST}/licenses/*"
  SetOutPath "$INSTDIR"
  File "/oname=LICENSE.txt" "${SOURCES}/../LICENSE"
  File "${SOURCES}/frozen/mapdr.ico"
  WriteUninstaller "$INSTDIR\uninstall.exe"

  ; S-1-5-18 is the system, S-1-5-32-544 administrators: names of groups are translated. `mapdr service install`
  ; lets the service's own account in.
  CreateDirectory "$APPDATA\MAPDR"
  !insertmacro Must '"$SYSDIR\icacls.exe" "$APPDATA\MAPDR" /inheritance:r /grant:r "*S-1-5-18:(OI)(CI)F" "*S-1-5-32-544:(OI)(CI)F" /q' \
    "the data folder can be read by others"

  !insertmacro Run '"$SYSDIR\net.exe" localgroup "${GROUP}"'
  ${If} $0 != 0
    !insertmacro Must '"$SYSDIR\net.exe" localgroup "${GROUP}" /add /comment:"May sign in to the window of MAPDR"' \
      "there is no group ${GROUP}"
  ${EndIf}

  !insertmacro Run '"$SYSDIR\netsh.exe" advfirewall firewall delete rule name="MAPDR"'
  !insertmacro Must '"$SYSDIR\netsh.exe" advfirewall firewall add rule name="MAPDR" dir=in action=allow protocol=TCP program="$INSTDIR\program\mapdr.exe" profile=domain,private' \
    "the firewall lets no modality in"

  Call Configure
  ${If} ${FileExists} "$APPDATA\MAPDR\mapdr.toml"
    ReadRegStr $0 HKLM "SYSTEM\CurrentControlSet\Services\MAPDR" "ImagePath"
    ${If} $0 != ""
      StrCpy $0 0
    ${Else}
      !insertmacro Must '"$INSTDIR\program\mapdr.exe" service install --config "$APPDATA\MAPDR\mapdr.toml"' "the service is not installed"
    ${EndIf}
    ${If} $0 == 0
      !insertmacro Must '"$INSTDIR\program\mapdr.exe" service start' "the service does not start"
    ${EndIf}
  ${EndIf}

  CreateDirectory "$SMPROGRAMS\MAPDR"
  ${If} ${FileExists} "$INSTDIR\program\MAPDR-Desktop.exe"
    CreateShortcut "$SMPROGRAMS\MAPDR\MAPDR.lnk" "$INSTDIR\program\MAPDR-Desktop.exe"
  ${EndIf}
  CreateShortcut "$SMPROGRAMS\MAPDR\MAPDR command line.lnk" "$SYSDIR\cmd.exe" '/k set "PATH=$INSTDIR\program;%PATH%"' "$INSTDIR\mapdr.ico"
  CreateShortcut "$SMPROGRAMS\MAPDR\Uninstall MAPDR.lnk" "$INSTDIR\uninstall.exe"

  WriteRegStr HKLM "Software\MAPDR" "Folder" "$INSTDIR"
  WriteRegStr HKLM "${UNINSTALL}" "DisplayName" "MAPDR"
  WriteRegStr HKLM "${UNINSTALL}" "DisplayVersion" "${VERSION}"
  WriteRegStr HKLM "${UNINSTALL}" "DisplayIcon" "$INSTDIR\mapdr.ico"
  WriteRegStr HKLM "${UNINSTALL}" "Publisher" "MAPDR developers"
  WriteRegStr HKLM "${UNINSTALL}" "InstallLocation" "$INSTDIR"
  WriteRegStr HKLM "${UNINSTALL}" "UninstallString" '"$INSTDIR\uninstall.exe"'
  WriteRegStr HKLM "${UNINSTALL}" "QuietUninstallString" '"$INSTDIR\uninstall.exe" /S'
  WriteRegDWORD HKLM "${UNINSTALL}" "NoModify" 1
  WriteRegDWORD HKLM "${UNINSTALL}" "NoRepair" 1
  ${GetSize} "$INSTDIR\program" "/S=0K" $1 $2 $3
  WriteRegDWORD HKLM "${UNINSTALL}" "EstimatedSize" $1

  ${If} $Lacking != ""
    MessageBox MB_OK|MB_ICONEXCLAMATION "MAPDR is installed, but:$Lacking the details say why." /SD IDOK
    SetErrorLevel 3
  ${EndIf}
SectionEnd

; A first configuration from the command line, where there is none.
Function Configure
  ${GetParameters} $R0
  ClearErrors
  ${GetOptions} $R0 "/TO=" $R1
  ${If} ${Errors}
  ${OrIf} ${FileExists} "$APPDATA\MAPDR\mapdr.toml"
    ClearErrors
    Return
  ${EndIf}
  ClearErrors
  ${GetOptions} $R0 "/AE=" $R2
  ${If} ${Errors}
    StrCpy $R2 "MAPDR"
  ${EndIf}
  ClearErrors
  ${GetOptions} $R0 "/PORT=" $R3
  ${If} ${Errors}
    StrCpy $R3 "11112"
  ${EndIf}
  !insertmacro Must '"$INSTDIR\program\mapdr.exe" init --config "$APPDATA\MAPDR\mapdr.toml" --ae-title "$R2" --port "$R3" --to "$R1"' \
    "there is no configuration"
FunctionEnd

Section "un.MAPDR"
  !insertmacro Run '"$INSTDIR\program\mapdr.exe" service remove'
  ClearErrors
  RMDir /r "$INSTDIR\program"
  ${If} ${Errors}
    MessageBox MB_OK|MB_ICONSTOP "MAPDR is in use: close its window and try again." /SD IDOK
    SetErrorLevel 2
    Quit
  ${EndIf}
  !insertmacro Run '"$SYSDIR\netsh.exe" advfirewall firewall delete rule name="MAPDR"'
  !insertmacro Run '"$SYSDIR\net.exe" localgroup "${GROUP}" /delete'
  RMDir /r "$INSTDIR\previous"
  RMDir /r "$INSTDIR\licenses"
  RMDir /r "$SMPROGRAMS\MAPDR"
  Delete "$INSTDIR\LICENSE.txt"
  Delete "$INSTDIR\mapdr.ico"
  Delete "$INSTDIR\uninstall.exe"
  SetOutPath "$TEMP"
  RMDir "$INSTDIR"
  DeleteRegKey HKLM "${UNINSTALL}"
  DeleteRegKey HKLM "Software\MAPDR"

  ${GetParameters} $R0
  ClearErrors
  ${GetOptions} $R0 "/DATA" $R1
  ${If} ${Errors}
    MessageBox MB_YESNO|MB_ICONEXCLAMATION|MB_DEFBUTTON2 \
      "Remove configuration and data too? Images that were not delivered yet would be lost: $APPDATA\MAPDR" \
      /SD IDNO IDYES data
    Return
  ${EndIf}
  data:
  RMDir /r "$APPDATA\MAPDR"
SectionEnd
